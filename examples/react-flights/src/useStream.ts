import { useEffect, useRef, useState } from 'react';
import { connect, type StreamEvent, type StreamState } from 'sse-cgi';

/**
 * Follows a stream while `isOn`. When it is switched on again, it goes on after its last event.
 *
 * @param events the names of events besides unnamed ones
 */
export function useStream(url: string, events: string[], onEvent: (event: StreamEvent) => void, isOn = true): StreamState {
  const [state, setState] = useState<StreamState>({ name: 'connecting' });
  const place = useRef({ url, id: '' });
  const handler = useRef(onEvent);
  useEffect(() => {
    handler.current = onEvent;
  });
  const names = events.join();
  useEffect(() => {
    if (!isOn) return;
    if (place.current.url !== url) place.current = { url, id: '' };
    const stream = connect(url, {
      events: names.split(','),
      lastEventId: place.current.id,
      onevent: (event) => handler.current(event),
      onstate: setState,
    });
    return () => {
      place.current.id = stream.lastEventId;
      stream.close();
    };
  }, [url, names, isOn]);
  return isOn ? state : { name: 'closed' };
}
