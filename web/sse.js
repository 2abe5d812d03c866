/**
 * Server-Sent Events for a page: EventSource, plus what it lacks.
 *
 *     import { connect } from './sse.js';
 *
 *     const stream = connect('/cgi-bin/nph-tail.cgi', {
 *       events: ['update'],                       // besides unnamed ones
 *       onevent: ({ type, data, id }) => { … },
 *       onstate: ({ name, retryAt }) => { … },
 *     });
 *     stream.close();
 *
 * What it adds:
 *  - it comes back when EventSource would not (sse-source.js);
 *  - all tabs of a browser share one connection per stream (sse-tabs.js), as
 *    HTTP/1.1 has six per host for all tabs together;
 *  - `close` ends the stream, and `gap` says that something is missing; a gap
 *    is not the end, events go on after it;
 *  - `unavailable` says why the server has nothing to read now, and a login page
 *    that comes instead of the stream is reported as one;
 *  - a signed link that expires is replaced by another one that the page gets
 *    (`renew`), and the stream goes on;
 *  - the state of the connection can be seen;
 *  - a connection that was lost silently is replaced (sse-source.js): after 2.5
 *    of the server's heartbeats, on return to the page, by `online` and retry();
 *  - several streams come in one connection (`streams`), which all tabs share,
 *    whichever of them each wants (sse-streams.js);
 *  - a page that the browser puts aside (back/forward cache, freezing) lets go
 *    of its connection, and goes on after its last event when it returns.
 *
 * Publishing, where the server allows it, is `send()` (sse-send.js).
 *
 * Sharing needs Web Locks, which a browser has on https and on localhost only.
 * Elsewhere each tab has a connection of its own, and lets go of it while it
 * is hidden; by its last event id it misses nothing.
 *
 * It runs in a worker and in a SharedWorker as well, which are never hidden.
 *
 * Known limits: only event types that were asked for are seen, as EventSource
 * has it; and where the server sends no heartbeat, as another than sse-cgi may,
 * a connection that died in silence stays `open` until the browser notices, or
 * somebody returns to the page.
 *
 * What comes from a stream is text. Put it into a page by textContent only.
 *
 * @module
 */

import { Source, isVisible, reasonIn } from './sse-source.js';
import { OF_CONNECTION, checkNames, splitType, typesOf, withStreams } from './sse-streams.js';
import { SharedSource } from './sse-tabs.js';

export { SendError, Sender, send } from './sse-send.js';

/**
 * @typedef {object} StreamEvent
 * @property {string} type `message` when the event has no name
 * @property {string} [stream] the stream's name, where `streams` were asked for
 * @property {string} data
 * @property {string} id the last event id as of this event, '' when there is none
 */

/**
 * @typedef {object} StreamState
 * @property {'connecting' | 'open' | 'waiting' | 'finished' | 'closed'} name
 *   connecting: under way, also by another tab on our behalf;
 *   waiting: for the next attempt, at `retryAt`, for the page to be seen again, or
 *   for the server to have something to read, where there is a `reason`;
 *   finished: the server said that the stream is over;
 *   closed: by close()
 * @property {number} [retryAt] when the next attempt is due, as Date.now() counts
 * @property {number} [status] the HTTP status that stands in the way, when known
 * @property {string} [reason] why there is nothing to read now, in a few words: the
 *   server's, or that a login page came instead of the stream
 */

/**
 * @typedef {object} Gap
 * @property {string} reason the server's `bad-id`, `unknown-id`, `expired`,
 *   `truncated`, `rotated`, `cut`; or `late`: this tab joined a connection whose
 *   first events no tab remembers any more
 * @property {number} [bytes]
 * @property {string} [stream] the stream's name, where `streams` were asked for; none where it
 *   concerns the connection
 */

/**
 * @typedef {object} ConnectOptions
 * @property {string[]} [streams] the streams of this address to receive, in one connection: the
 *   server has them in SSE_STREAMS. All tabs of a browser share it, whichever streams each wants
 * @property {string[]} [events] named events to receive; unnamed ones always are. With `streams`,
 *   `update` is that of each stream, `builds/update` that of one
 * @property {(event: StreamEvent) => void} [onevent] every event but `gap`, `close`,
 *   `unavailable`, `heartbeat` and `expired`, in order
 * @property {(state: StreamState) => void} [onstate]
 * @property {(event: StreamEvent | null) => void} [onclose] the stream is over, told once;
 *   null when the server said it by status 204. With `streams`, told of each; when all are over,
 *   the state is `finished`
 * @property {(gap: Gap) => void} [ongap]
 * @property {(reason: string, stream?: string) => void} [onunavailable] there is nothing to read
 *   now, told once for each reason; the stream is tried again, and goes on by itself. With
 *   `streams`, of the one that is named, or of all
 * @property {() => string | URL | Promise<string | URL>} [renew] gets another signed link to the
 *   same stream from the application: before the present one expires, and when the server
 *   answers 403. What it throws is reported, and it is asked again
 * @property {boolean} [shared] one connection for all tabs; default true
 * @property {boolean} [heartbeat] ask for the event `heartbeat` by the query, to notice a
 *   lost connection; default true
 * @property {boolean} [withCredentials] cookies across origins; default false
 * @property {string} [lastEventId] go on after this event; default: as a first-time client
 * @property {number} [keep] events that a tab remembers for tabs that join later; default 1000
 */

/**
 * @typedef {object} Stream
 * @property {string} url
 * @property {StreamState} state
 * @property {string} lastEventId
 * @property {() => void} retry try at once: where it waits, and where it is open too, as
 *   that connection may be lost
 * @property {() => void} close
 */

/** The names that a server takes a last event id by from the query. */
const ID_FIELDS = ['lastEventId', 'last_event_id', 'evs_last_event_id', 'lastEventID', 'Last-Event-ID'];

/**
 * @param {string | URL} address relative to the page
 * @param {ConnectOptions} [options]
 * @returns {Stream}
 */
export function connect(address, options = {}) {
  const { events = [], shared = true, keep = 1000 } = options;
  const { withCredentials = false, heartbeat = true } = options;
  const url = absolute(address);
  // A second id in the query would make the server distrust both.
  const inQuery = ID_FIELDS.find((name) => url.searchParams.has(name));
  let lastEventId = options.lastEventId ?? (inQuery && url.searchParams.get(inQuery)) ?? '';
  removeIds(url);
  const streams = options.streams && checkNames(options.streams);
  if (streams) url.searchParams.delete('s');

  const own = ['unavailable', 'heartbeat', 'expired'];
  const asked = events.filter((type) => !own.includes(type));
  const types = streams ? typesOf(streams, asked) : [...new Set(['message', 'gap', 'close', ...asked])].sort();
  /** @type {StreamState} */
  let state = { name: 'connecting' };
  const over = () => state.name === 'closed' || state.name === 'finished';
  const isToldOfAll = () => streams?.every((stream) => closed.has(stream)) ?? false;

  /** @type {StreamEvent | null} */
  let closing = null;
  const wanted = new Set(types);
  /** The streams that are over. @type {Set<string>} */
  const closed = new Set();
  /** Why streams have nothing to read. @type {Map<string, string>} */
  const reasons = new Map();

  /**
   * An event of one of several streams.
   *
   * @param {StreamEvent} event
   */
  function receive({ type: named, data, id }) {
    const { stream, type } = splitType(named);
    if (!wanted.has(named) || closed.has(stream)) return;
    if (type === 'gap') return call(options.ongap, { ...parseGap(data), stream });
    if (type === 'unavailable') {
      const reason = reasonIn(data);
      if (reasons.get(stream) === reason) return;
      reasons.set(stream, reason);
      // (`call` passes one value.)
      return call((/** @type {string} */ value) => options.onunavailable?.(value, stream), reason);
    }
    reasons.delete(stream);
    if (type !== 'close') return call(options.onevent, { stream, type, data, id });
    closed.add(stream);
    call(options.onclose, { stream, type, data, id });
    if (!isToldOfAll() || over()) return;
    // It is over for this page; other tabs may want more of the connection.
    link?.stop();
    how.onstate({ name: 'finished' });
  }

  const how = {
    streams,
    types,
    withCredentials,
    heartbeat,
    keep,
    renew:
      options.renew &&
      (async () => removeIds(absolute(await /** @type {() => string} */ (options.renew)())).href),
    onevent(/** @type {StreamEvent} */ event) {
      if (over()) return;
      lastEventId = event.id;
      if (event.type === 'close') closing = event;
      else if (event.type === 'gap') call(options.ongap, parseGap(event.data));
      else if (streams) receive(event);
      else call(options.onevent, event);
    },
    onstate(/** @type {StreamState} */ next) {
      if (over()) return;
      const { reason } = state;
      state = next;
      if (over()) release();
      call(options.onstate, next);
      if (next.reason && next.reason !== reason) call(options.onunavailable, next.reason);
      if (next.name === 'finished' && !isToldOfAll()) call(options.onclose, closing);
    },
    onlate(/** @type {string[]} */ late) {
      if (!streams && !over()) call(options.ongap, { reason: 'late' });
      for (const stream of late) if (!over()) call(options.ongap, { stream, reason: 'late' });
    },
    // Locks may be there and yet refused, as in a sandboxed frame.
    onunavailable() {
      if (!over()) useOwn();
    },
  };

  /** @type {Source | SharedSource | null} */
  let link = null;
  let sleepsWhileHidden = false;

  function useOwn() {
    sleepsWhileHidden = shared;
    link = streams
      ? new Source(withStreams(url.href, streams), {
          ...how,
          types: [...types, ...OF_CONNECTION],
          renew: how.renew && (async () => withStreams(await how.renew(), streams)),
          lastEventId,
        })
      : new Source(url.href, { ...how, lastEventId });
    if (sleepsWhileHidden && !isVisible()) sleep();
    else link.start();
  }

  function sleep() {
    if (over()) return;
    link?.stop();
    how.onstate({ name: 'waiting' });
  }

  const onPageHide = () => sleep();
  const onPageShow = (/** @type {PageTransitionEvent} */ event) => event.persisted && link?.start();
  const onResume = () => link?.start();
  const onVisibility = () => {
    if (!sleepsWhileHidden) return;
    if (!isVisible()) sleep();
    else link?.start();
  };
  addEventListener('pagehide', onPageHide);
  addEventListener('pageshow', onPageShow);
  // A worker has no document.
  const page = globalThis.document;
  page?.addEventListener('freeze', onPageHide);
  page?.addEventListener('resume', onResume);
  page?.addEventListener('visibilitychange', onVisibility);

  function release() {
    removeEventListener('pagehide', onPageHide);
    removeEventListener('pageshow', onPageShow);
    page?.removeEventListener('freeze', onPageHide);
    page?.removeEventListener('resume', onResume);
    page?.removeEventListener('visibilitychange', onVisibility);
  }

  // Not before the caller has its Stream, which its callbacks may well use.
  queueMicrotask(() => {
    if (over()) return;
    call(options.onstate, state);
    if (over()) return;
    if (shared && SharedSource.isPossible()) {
      link = new SharedSource(url.href, { ...how, lastEventId });
      link.start();
    } else {
      useOwn();
    }
  });

  return {
    url: url.href,
    get state() {
      return state;
    },
    get lastEventId() {
      return lastEventId;
    },
    retry: () => link?.retry(),
    close() {
      if (over()) return;
      link?.stop();
      how.onstate({ name: 'closed' });
    },
  };
}

/** @param {string | URL} address */
function absolute(address) {
  const url = new URL(address, globalThis.location?.href);
  url.hash = '';
  return url;
}

/** @param {URL} url */
function removeIds(url) {
  for (const name of ID_FIELDS) if (url.searchParams.has(name)) url.searchParams.delete(name);
  return url;
}

/**
 * A page's mistake is reported as usual, and costs no other tab its events.
 *
 * @template T
 * @param {((value: T) => void) | undefined} callback
 * @param {T} value
 */
function call(callback, value) {
  try {
    callback?.(value);
  } catch (error) {
    reportError(error);
  }
}

/**
 * @param {string} data
 * @returns {Gap}
 */
function parseGap(data) {
  try {
    const gap = JSON.parse(data);
    if (gap && typeof gap.reason === 'string') return gap;
  } catch {
    // A gap of another server; that there is one is what matters.
  }
  return { reason: 'unknown' };
}
