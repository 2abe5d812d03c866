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
 *    not tell. 204 is the server's word for "finished": never again. A page
 *    (text/html), or a redirect that cannot be followed, is a login page.
 *    Everything else is waited out, however long it takes.
 *
 * A connection that was lost silently (the computer slept, a proxy dropped it)
 * stays open for an EventSource. So a Source asks the server for the event
 * `heartbeat`, whose data tells how often it comes, and makes a new EventSource
 * when 2.5 times that passes without an event. A server that does not know
 * this sends no heartbeat, and is not watched. When the page is seen again, a
 * connection that is silent for a second is replaced too; after the event
 * `online` and by retry(), any is.
 *
 * A stream that a signed link opens ends when the link expires. The server sends
 * the event `expired` before, and answers 403 after. In both cases a Source asks
 * the page for another link (`renew`), and goes on with that.
 *
 * It does not know about other tabs (sse-tabs.js does) nor about pages, and it
 * runs in workers, which have no document.
 *
 * @module
 */

/** @typedef {import('./sse.js').StreamEvent} StreamEvent */
/** @typedef {import('./sse.js').StreamState} StreamState */

const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 30_000;
/** Without a sign of life for so many heartbeats a connection is lost. */
const HEARTBEATS = 2.5;
/** The longest interval of heartbeats that sse-cgi has; for connections under way. */
const LONGEST_HEARTBEAT_MS = 25_000;
/** A timer stands still while the computer sleeps; the clock is looked at so often. */
const LONGEST_NAP_MS = 10_000;
/** A connection that is silent for so long may be lost when somebody returns to it. */
const SILENT_MS = 1_000;
/** What an open stream has to say about its absence, it says in that time. */
const SETTLED_MS = 1_000;

/** What came instead of a stream, in words for the reader of a page. */
const LOGIN_PAGE = 'a login page instead of the stream';

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
  return id ? withField(url, 'lastEventId', id) : url;
}

/**
 * @param {string} url
 * @param {string} name
 * @param {string} value
 */
function withField(url, name, value) {
  return `${url}${url.includes('?') ? '&' : '?'}${name}=${encodeURIComponent(value)}`;
}

/**
 * An event of the server. EventSource's own `open` and `error` reach the same
 * listeners as a server's events of these names, but carry no data.
 *
 * @param {Event} event
 * @returns {event is MessageEvent}
 */
const isFromServer = (event) => 'data' in event;

/** A worker has no document, and is never hidden. */
export const isVisible = () => globalThis.document?.visibilityState !== 'hidden';

/**
 * The reason in the data of `unavailable`: JSON, or words of another server.
 *
 * @param {string} data
 */
export function reasonIn(data) {
  try {
    const { reason } = JSON.parse(data);
    if (typeof reason === 'string' && reason) return reason;
  } catch {
    // Words, then.
  }
  return data || 'nothing to read now';
}

/**
 * The interval in the data of `heartbeat`, in milliseconds; 0 where it tells none.
 *
 * @param {string} data
 */
function intervalIn(data) {
  try {
    const { interval_ms: interval } = JSON.parse(data);
    if (Number.isFinite(interval) && interval >= 100 && interval <= 3_600_000) return interval;
  } catch {
    // Not a heartbeat of ours.
  }
  return 0;
}

/**
 * The types to listen for, and those that a Source reads itself.
 *
 * @param {string[]} types
 */
const withOwn = (types) => [...new Set([...types, 'unavailable', 'heartbeat', 'expired'])];

export class Source {
  #url;
  #types;
  #withCredentials;
  #heartbeat;
  #onevent;
  #onstate;
  #renew;
  /** The number of the request for another link that is under way; 0: none is. */
  #renewing = 0;
  #renewals = 0;
  #renewAgain = 0;
  /** @type {EventSource | null} */
  #eventSource = null;
  #running = false;
  #failures = 0;
  #timer = 0;
  #lastId;
  /** When the connection last gave a sign of life, or was begun. */
  #heardAt = 0;
  #watch = 0;
  #lookAgain = 0;
  /** Why there is nothing to read, until there is; '' where nobody says so. */
  #reason = '';
  #settling = 0;

  /**
   * @param {string} url
   * @param {object} how
   * @param {string[]} how.types every event type to listen for
   * @param {boolean} how.withCredentials
   * @param {boolean} [how.heartbeat] ask for heartbeats; default true
   * @param {string} how.lastEventId
   * @param {(event: StreamEvent) => void} how.onevent
   * @param {(state: StreamState) => void} how.onstate
   * @param {() => Promise<string>} [how.renew] another address of the same stream, when
   *   the link in this one expires
   */
  constructor(url, { types, withCredentials, heartbeat = true, lastEventId, onevent, onstate, renew }) {
    this.#url = url;
    this.#renew = renew;
    this.#types = withOwn(types);
    this.#heartbeat = heartbeat;
    this.#withCredentials = withCredentials;
    this.#lastId = lastEventId;
    this.#onevent = onevent;
    this.#onstate = onstate;
  }

  start() {
    if (this.#running) return;
    this.#running = true;
    addEventListener('online', this.#reopen);
    globalThis.document?.addEventListener('visibilitychange', this.#checkWhenSeen);
    this.#open();
  }

  /** Ends the connection without a word; start() goes on where it was. */
  stop() {
    this.#running = false;
    this.#renewing = 0;
    clearTimeout(this.#renewAgain);
    removeEventListener('online', this.#reopen);
    globalThis.document?.removeEventListener('visibilitychange', this.#checkWhenSeen);
    this.#drop();
  }

  /** Tries at once; a connection that is open may be lost, and is replaced. */
  retry() {
    this.#reopen();
  }

  /**
   * Goes on at another address of the same stream, after the last event. Nobody is told of that,
   * unless it fails.
   *
   * @param {string} url
   * @param {string[]} types every event type to listen for
   */
  move(url, types) {
    this.#url = url;
    this.#types = withOwn(types);
    if (!this.#running) this.start();
    else this.#open(this.#eventSource?.readyState === EventSource.OPEN);
  }

  /**
   * Listens for more event types, from now on.
   *
   * @param {string[]} types
   */
  listen(types) {
    const more = types.filter((type) => !this.#types.includes(type));
    this.#types.push(...more);
    if (this.#eventSource) this.#hear(this.#eventSource, more);
  }

  /** Somebody returned to the stream: a silent connection may be lost. */
  check() {
    if (!this.#running) return;
    // Our own timer is waited for no longer. A browser's own attempt is under way.
    if (!this.#eventSource) return this.#open();
    if (this.#eventSource.readyState !== EventSource.OPEN) return;
    const silentMs = Date.now() - this.#heardAt;
    if (silentMs >= SILENT_MS || silentMs < 0) return this.#open();
    clearTimeout(this.#lookAgain);
    const heardAt = this.#heardAt;
    this.#lookAgain = setTimeout(() => {
      if (this.#heardAt === heardAt) this.check();
    }, SILENT_MS - silentMs);
  }

  #reopen = () => {
    if (this.#running) this.#open();
  };

  #checkWhenSeen = () => {
    if (isVisible()) this.check();
  };

  #drop() {
    for (const timer of [this.#timer, this.#watch, this.#lookAgain, this.#settling, this.#renewAgain]) {
      clearTimeout(timer);
    }
    this.#eventSource?.close();
    this.#eventSource = null;
  }

  /** The address of the next request. */
  #address() {
    const url = resumeUrl(this.#url, this.#lastId);
    return this.#heartbeat ? withField(url, 'heartbeat', 'event') : url;
  }

  #open(isQuiet = false) {
    this.#drop();
    if (!isQuiet) this.#tellConnecting();
    const source = new EventSource(this.#address(), {
      withCredentials: this.#withCredentials,
    });
    this.#eventSource = source;
    this.#watchFrom(LONGEST_HEARTBEAT_MS);
    source.onopen = (event) => {
      if (source !== this.#eventSource || isFromServer(event)) return;
      this.#failures = 0;
      // Until it sends its first heartbeat, which is the first event.
      this.#watchFrom(0);
      this.#tellOpen();
    };
    source.onerror = (event) => {
      if (source !== this.#eventSource || isFromServer(event)) return;
      clearTimeout(this.#settling);
      if (source.readyState === EventSource.CLOSED) return this.#wait();
      // The browser's next attempt waits for the server's `retry:`, which may be long.
      this.#watchFrom(0);
      this.#tellConnecting();
    };
    this.#hear(source, this.#types);
  }

  /**
   * @param {EventSource} source
   * @param {string[]} types
   */
  #hear(source, types) {
    for (const type of types) {
      source.addEventListener(type, (event) => {
        // An event listener may stop us in the middle of what arrived together.
        if (source === this.#eventSource && isFromServer(event)) this.#receive(type, event);
      });
    }
  }

  /**
   * @param {string} type
   * @param {MessageEvent} event
   */
  #receive(type, { data, lastEventId }) {
    this.#heardAt = Date.now();
    if (type === 'heartbeat') return this.#watchFrom(intervalIn(data));
    // None of these moves the place.
    if (type === 'expired') return this.#getLink(true);
    if (type === 'unavailable') return this.#suspend(reasonIn(data));
    this.#lastId = lastEventId;
    if (type === 'close') this.stop();
    else if (this.#reason && type !== 'gap') {
      this.#reason = '';
      this.#tellOpen();
    }
    this.#onevent({ type, data, id: lastEventId });
    if (type === 'close') this.#onstate({ name: 'finished' });
  }

  /**
   * Makes a new connection when this one gives no sign of life.
   *
   * @param {number} intervalMs how often it is expected to; 0: never
   */
  #watchFrom(intervalMs) {
    this.#heardAt = Date.now();
    clearTimeout(this.#watch);
    if (!intervalMs) return;
    const limitMs = HEARTBEATS * intervalMs;
    const look = () => {
      const leftMs = this.#heardAt + limitMs - Date.now();
      if (leftMs <= 0) this.#reopen();
      else this.#watch = setTimeout(look, Math.min(leftMs, LONGEST_NAP_MS));
    };
    look();
  }

  /**
   * Asks the page for another link, and goes on with it at once. Where it has none, it is asked
   * again: while the old link lasts, by this; after that, at each attempt.
   *
   * @param {boolean} isOpen whether the old link still lasts
   */
  async #getLink(isOpen) {
    if (!this.#renew || this.#renewing) return;
    this.#renewals += 1;
    const number = this.#renewals;
    this.#renewing = number;
    let url = '';
    try {
      url = await this.#renew();
    } catch (error) {
      reportError(error);
    }
    // It was stopped meanwhile, or the answer took too long.
    if (this.#renewing !== number) return;
    this.#renewing = 0;
    if (url) {
      this.#url = url;
      // A server that refuses each new link is asked later and later.
      if (isOpen || this.#failures <= 1) this.#open();
    } else if (isOpen && this.#eventSource?.readyState === EventSource.OPEN) {
      clearTimeout(this.#renewAgain);
      this.#renewAgain = setTimeout(() => this.#getLink(true), backoffMs(2));
    }
  }

  // --- what is told

  #tellConnecting() {
    if (this.#reason) this.#onstate({ name: 'waiting', reason: this.#reason });
    else this.#onstate({ name: 'connecting' });
  }

  #tellOpen() {
    clearTimeout(this.#settling);
    if (!this.#reason) return this.#onstate({ name: 'open' });
    // It may say again, at once, that there is nothing.
    this.#settling = setTimeout(() => {
      this.#reason = '';
      this.#onstate({ name: 'open' });
    }, SETTLED_MS);
  }

  /**
   * The server has nothing to read now. It ends the stream and is asked again
   * after its `retry:`, or goes on and waits for the file.
   *
   * @param {string} reason
   */
  #suspend(reason) {
    clearTimeout(this.#settling);
    this.#reason = reason;
    this.#onstate({ name: 'waiting', reason });
  }

  #wait() {
    this.#drop();
    this.#failures += 1;
    const delay = backoffMs(this.#failures);
    /** @type {StreamState} */
    const state = { name: 'waiting', retryAt: Date.now() + delay };
    if (this.#reason) state.reason = this.#reason;
    const timer = setTimeout(() => this.#open(), delay);
    this.#timer = timer;
    this.#onstate(state);
    this.#askWhy().then(({ status, isPage }) => {
      if (!this.#running || this.#timer !== timer || this.#eventSource) return;
      if (status === 204) {
        this.stop();
        this.#onstate({ name: 'finished' });
        return;
      }
      if (status === 403) this.#getLink(false);
      this.#reason = isPage ? LOGIN_PAGE : '';
      if (isPage) this.#onstate({ ...state, status, reason: LOGIN_PAGE });
      else if (status >= 400) this.#onstate({ ...state, status, reason: undefined });
    });
  }

  /**
   * By GET, and gone when the head is there: not every server answers HEAD as
   * it would GET.
   *
   * @returns {Promise<{status: number, isPage: boolean}>} the status, or 0 where it
   *   cannot be known; whether it is a page, or a redirect to one of another site
   */
  async #askWhy() {
    const answer = await this.#ask('follow');
    if (answer) {
      const type = answer.headers.get('content-type') ?? '';
      const isPage = answer.status === 200 && /^\s*(text\/html|application\/xhtml)/i.test(type);
      return { status: answer.status, isPage };
    }
    // Another site's login page cannot be read, but the redirect to it can be seen.
    const redirect = await this.#ask('manual');
    return { status: 0, isPage: redirect?.type === 'opaqueredirect' };
  }

  /**
   * @param {RequestRedirect} redirect
   * @returns {Promise<Response | null>}
   */
  async #ask(redirect) {
    const head = new AbortController();
    try {
      return await fetch(this.#address(), {
        headers: { Accept: 'text/event-stream' },
        cache: 'no-store',
        credentials: this.#withCredentials ? 'include' : 'same-origin',
        redirect,
        signal: head.signal,
      });
    } catch {
      return null;
    } finally {
      head.abort();
    }
  }
}
