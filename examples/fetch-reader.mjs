/**
 * Reads an event stream with fetch, where there is no EventSource, or where a header must
 * be sent, which EventSource cannot: Node 18 and later, Deno, Bun, workers, pages.
 *
 *     import { events } from './fetch-reader.mjs';
 *     for await (const { event, data, id } of events('http://localhost/cgi-bin/nph-tail.cgi')) …
 *
 *     node examples/fetch-reader.mjs URL    prints every event as a line of JSON
 */

/**
 * Every event, over as many connections as it takes, but not `place`, which only tells the last id. It ends after the event `close`, when
 * the server says that there is no more (204), and when `signal` says so.
 *
 * @param {string | URL} url
 * @param {{headers?: Record<string, string>, signal?: AbortSignal, lastEventId?: string}} [options]
 *   to go on after an event, give its `id` as `lastEventId`
 * @throws on an answer that will not get better by itself, such as 404
 */
export async function* events(url, { headers, signal, lastEventId = '' } = {}) {
  const place = { id: lastEventId, retryMs: 3000 };
  for (let failures = 0; !signal?.aborted; ) {
    let reader;
    try {
      const id = place.id && { 'Last-Event-ID': place.id };
      const all = { ...headers, Accept: 'text/event-stream', ...id };
      const response = await fetch(url, { headers: all, cache: 'no-store', signal });
      reader = response.body?.getReader();
      if (response.status === 204) return;
      if (response.status >= 400 && response.status < 500) throw new Refused(`${url}: HTTP ${response.status}`);
      if (response.status !== 200) throw new Error('not now');
      failures = 0;
      const decoder = new TextDecoder();
      const parse = parser(place);
      for (let part; !(part = await reader.read()).done; ) {
        for (const event of parse(decoder.decode(part.value, { stream: true }))) {
          yield event;
          if (event.event === 'close') return;
        }
      }
    } catch (error) {
      if (error instanceof Refused) throw error;
      failures += 1;
    } finally {
      // Also when the caller left its loop: the server must not continue to send.
      await reader?.cancel().catch(() => {});
    }
    await wait(Math.min(place.retryMs * 2 ** Math.max(0, failures - 1), 60_000), signal);
  }
}

class Refused extends Error {}

/** One connection's text in pieces of any size → its events (WHATWG HTML §9.2.6). */
function parser(place) {
  let rest = '', data = [], event = '', id = place.id;
  return (text) => {
    const events = [];
    // A CR at the end may be the first half of a CRLF.
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      const [, field, value] = /^([^:]*)(?:: ?)?(.*)$/s.exec(line);
      if (line === '') {
        place.id = id;
        if (data.length && event !== 'place') events.push({ event: event || 'message', data: data.join('\n'), id });
        data = [];
        event = '';
      } else if (field === 'data') data.push(value);
      else if (field === 'event') event = value;
      else if (field === 'id' && !value.includes('\0')) id = value;
      else if (field === 'retry' && /^\d+$/.test(value)) place.retryMs = Number(value);
    }
    return events;
  };
}

const wait = (ms, signal) =>
  new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
  });

if (globalThis.process?.argv[1]?.endsWith('/fetch-reader.mjs')) {
  for await (const event of events(process.argv[2])) console.log(JSON.stringify(event));
}
