/**
 * One EventSource that does not give up.
 *
 * A browser reconnects an EventSource by itself after a network error, but any
 * answer other than 200 ends it for good (readyState 2), also when that answer
 * was only a passing 502. A Source then makes a new one, later and later up to
 * 30 s, and takes the last event id along.
 *
 * The rule about the end:
 *  - after the event `close`, never again;
 *  - after readyState 2, one more request asks why, since an EventSource does
 *    not tell. 204 is the server's word for "finished": never again.
 *    Everything else is waited out, however long it takes.
 *
 * It does not know about other tabs (sse-tabs.js does) nor about pages.
 *
 * @module
 */

/** @typedef {import('./sse.js').StreamEvent} StreamEvent */
/** @typedef {import('./sse.js').StreamState} StreamState */

const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 30_000;

/**
 * How long to wait before the next attempt: doubled each time, then somewhere
 * between half of it and all of it, so that the clients of a restarted server
 * do not all come back in the same instant.
 *
 * @param {number} failures 1 or more
 * @param {number} [random] 0 ≤ random < 1
 * @returns {number} milliseconds
 */
export function backoffMs(failures, random = Math.random()) {
  const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(failures - 1, 10));
  return Math.round(ceiling * (0.5 + random / 2));
}

/**
 * The address that resumes after `id`. A new EventSource cannot send the
 * header Last-Event-ID; the query is read where the header is missing. When
 * the browser later reconnects this same EventSource by itself it sends the
 * header, and the header wins, so the query's id never brings old events back.
 *
 * @param {string} url
 * @param {string} id
 */
export function resumeUrl(url, id) {
  if (!id) return url;
  return `${url}${url.includes('?') ? '&' : '?'}lastEventId=${encodeURIComponent(id)}`;
}

export class Source {
  #url;
  #types;
  #withCredentials;
  #onevent;
  #onstate;
  /** @type {EventSource | null} */
  #eventSource = null;
  #running = false;
  #failures = 0;
  #timer = 0;
  #lastId;

  /**
   * @param {string} url
   * @param {object} how
   * @param {string[]} how.types every event type to listen for
   * @param {boolean} how.withCredentials
   * @param {string} how.lastEventId
   * @param {(event: StreamEvent) => void} how.onevent
   * @param {(state: StreamState) => void} how.onstate
   */
  constructor(url, { types, withCredentials, lastEventId, onevent, onstate }) {
    this.#url = url;
    this.#types = types;
    this.#withCredentials = withCredentials;
    this.#lastId = lastEventId;
    this.#onevent = onevent;
    this.#onstate = onstate;
  }

  start() {
    if (this.#running) return;
    this.#running = true;
    addEventListener('online', this.#retryNow);
    document.addEventListener('visibilitychange', this.#retryWhenSeen);
    this.#open();
  }

  /** Ends the connection without a word; start() goes on where it was. */
  stop() {
    this.#running = false;
    removeEventListener('online', this.#retryNow);
    document.removeEventListener('visibilitychange', this.#retryWhenSeen);
    this.#drop();
  }

  /** Tries at once, unless the connection is open. */
  retry() {
    this.#retryNow();
  }

  #retryNow = () => {
    if (!this.#running || this.#eventSource?.readyState === EventSource.OPEN) return;
    this.#open();
  };

  #retryWhenSeen = () => {
    // Only what waits for our own timer: a browser's own attempt is under way.
    if (document.visibilityState === 'visible' && !this.#eventSource) this.#retryNow();
  };

  #drop() {
    clearTimeout(this.#timer);
    this.#eventSource?.close();
    this.#eventSource = null;
  }

  #open() {
    this.#drop();
    this.#onstate({ name: 'connecting' });
    const source = new EventSource(resumeUrl(this.#url, this.#lastId), {
      withCredentials: this.#withCredentials,
    });
    this.#eventSource = source;
    source.onopen = () => {
      this.#failures = 0;
      this.#onstate({ name: 'open' });
    };
    source.onerror = () => {
      if (source !== this.#eventSource) return;
      if (source.readyState === EventSource.CLOSED) this.#wait();
      else this.#onstate({ name: 'connecting' });
    };
    for (const type of this.#types) {
      source.addEventListener(type, (/** @type {MessageEvent} */ event) => {
        // An event listener may stop us in the middle of what arrived together.
        if (source === this.#eventSource) this.#receive(type, event);
      });
    }
  }

  /**
   * @param {string} type
   * @param {MessageEvent} event
   */
  #receive(type, { data, lastEventId }) {
    this.#lastId = lastEventId;
    if (type === 'close') this.stop();
    this.#onevent({ type, data, id: lastEventId });
    if (type === 'close') this.#onstate({ name: 'finished' });
  }

  #wait() {
    this.#drop();
    this.#failures += 1;
    const delay = backoffMs(this.#failures);
    /** @type {StreamState} */
    const state = { name: 'waiting', retryAt: Date.now() + delay };
    const timer = setTimeout(() => this.#open(), delay);
    this.#timer = timer;
    this.#onstate(state);
    this.#askWhy().then((status) => {
      if (!this.#running || this.#timer !== timer || this.#eventSource) return;
      if (status === 204) {
        this.stop();
        this.#onstate({ name: 'finished' });
      } else if (status >= 400) {
        this.#onstate({ ...state, status });
      }
    });
  }

  /**
   * By GET, and gone when the head is there: not every server answers HEAD as
   * it would GET.
   *
   * @returns {Promise<number>} the status, or 0 where it cannot be known
   */
  async #askWhy() {
    const head = new AbortController();
    try {
      const answer = await fetch(resumeUrl(this.#url, this.#lastId), {
        headers: { Accept: 'text/event-stream' },
        cache: 'no-store',
        credentials: this.#withCredentials ? 'include' : 'same-origin',
        signal: head.signal,
      });
      return answer.status;
    } catch {
      return 0;
    } finally {
      head.abort();
    }
  }
}
