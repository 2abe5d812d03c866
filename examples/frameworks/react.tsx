import { useEffect, useState } from 'react';
import { connect } from 'sse-cgi';

export function Log({ url }: { url: string }) {
  const [lines, setLines] = useState<string[]>([]);
  useEffect(() => {
    const stream = connect(url, { onevent: ({ data }) => setLines((lines) => [...lines.slice(-99), data]) });
    return () => stream.close();
  }, [url]);
  return <ol>{lines.map((line, n) => <li key={n}>{line}</li>)}</ol>;
}
