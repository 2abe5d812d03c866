/**
 * One connection per stream for all tabs of a browser.
 *
 * Whoever holds the Web Lock named after the stream is the leader: it has the
 * connection, numbers the events and passes them on by BroadcastChannel. All
 * others follow, and queue for the lock. The browser frees the lock of a tab
 * that goes away, however it goes, and the next one takes over.
 *
 *     joining ──log──▶ following ──lock──▶ leading
 *        ▲                 │                  │
 *        └── missed one ◀──┘◀─ lock stolen ───┘
 *
 * Nothing lost, nothing doubled:
 *  - Every tab remembers the events it was given (the last `keep`, at most 2 M
 *    characters). Its place is the number and id of the last one.
 *  - A follower that sees a number jump, or a new leader that is ahead, asks
 *    for what comes after its place.
 *  - A new leader resumes by its last id from the server. The old one's last
 *    words may not have reached it, but another tab: that one knows the events
 *    that come again by id and content, and drops them.
 *  - A tab that joins late is given all that the leader remembers, which for
 *    a stream that is younger than `keep` events is what a first-time client
 *    would have got. If something was forgotten already, `onlate` says so
 *    before.
 *  - A leader that answers nobody (stopped in a debugger, in front of an
 *    alert) loses the lock to a visible follower after some 20 s.
 *
 * Tabs that ask for other event types of the same address, or other
 * credentials, are another group: a connection can be shared only by those who
 * want the same of it. Each tab may have a signed link of its own to the same
 * stream; they are one group.
 *
 * @module
 */

import { Source, isVisible } from './sse-source.js';

/** @typedef {import('./sse.js').StreamEvent} StreamEvent */
/** @typedef {import('./sse.js').StreamState} StreamState */
/** @typedef {StreamEvent & {seq: number}} Numbered */

const LINGER_MS = 500;
const WATCH_EVERY_MS = 5_000;
const SILENCE_MS = 15_000;
const LONGEST_HISTORY_CHARS = 2_000_000;

/**
 * The events a tab was given, as far as it remembers them, and the place
 * before the first of them. A place is the number and the id of an event.
 */
export class History {
  /** @type {Numbered[]} */
  #events = [];
  #chars = 0;
  #keep;
  /** @type {{seq: number, id: string} | null} */
  #start;

  /**
   * @param {number} keep
   * @param {string} id the stream is read from after this event
   */
  constructor(keep, id) {
    this.#keep = keep;
    this.#start = { seq: 0, id };
  }

  /** Something is missing: what comes next follows on nothing we know. */
  break() {
    this.#events = [];
    this.#chars = 0;
    this.#start = null;
  }

  /** @param {Numbered} event */
  push(event) {
    this.#events.push(event);
    this.#chars += event.data.length;
    while (this.#events.length > this.#keep || this.#chars > LONGEST_HISTORY_CHARS) {
      const { seq, id, data } = /** @type {Numbered} */ (this.#events.shift());
      this.#chars -= data.length;
      this.#start = { seq, id };
    }
  }

  all() {
    return this.#events.slice();
  }

  /**
   * What came after a place; null when the place is not remembered. The number
   * alone is not enough, as numbers start anew with each group of tabs.
   *
   * @param {number} seq
   * @param {string} id
   * @returns {Numbered[] | null}
   */
  after(seq, id) {
    let at = this.#events.findLastIndex((event) => event.seq === seq && event.id === id);
    if (at < 0 && this.#start?.id === id && (id || this.#start.seq === seq)) return this.all();
    if (at < 0 && id) at = this.#events.findLastIndex((event) => event.id === id);
    return at < 0 ? null : this.#events.slice(at + 1);
  }

  /**
   * An id is enough to know an event by; one without is known by its number.
   *
   * @param {Numbered} event
   */
  holds({ seq, type, data, id }) {
    return this.#events.some(
      (known) =>
        known.id === id &&
        known.type === type &&
        known.data === data &&
        (id !== '' || known.seq === seq),
    );
  }
}

/**
 * The address without a signed link or a token, which differ from tab to tab.
 *
 * @param {string} url
 */
export function withoutLink(url) {
  const bare = new URL(url);
  for (const name of ['e', 'p', 't', 'token']) {
    // A query without them stays as it is written.
    if (bare.searchParams.has(name)) bare.searchParams.delete(name);
  }
  return bare.href;
}

export class SharedSource {
  static isPossible() {
    return typeof BroadcastChannel === 'function' && Boolean(globalThis.navigator?.locks);
  }

  #url;
  #how;
  #name;
  #history;
  #me = Math.random().toString(36).slice(2);
  /** @type {'away' | 'following' | 'leading' | 'over'} */
  #role = 'away';
  /** Following: whether nothing is missing up to #seq. */
  #isSynced = false;
  /** When the leader began, as a follower knows it; words of older ones are void. */
  #term = 0;
  #seq = 0;
  #id;
  /** @type {StreamState} */
  #state = { name: 'connecting' };
  /** @type {BroadcastChannel | null} */
  #channel = null;
  /** @type {Source | null} */
  #source = null;
  #candidacy = new AbortController();
  #giveUpLock = () => {};
  /** @type {Numbered[]} */
  #outbox = [];
  // A message to ourselves runs after all events that arrived together, so
  // that they are passed on together, and is not slowed down in a hidden tab
  // as a timer would be.
  #flushSoon = new MessageChannel();
  #watch = 0;
  #heardAt = 0;
  #isProbing = false;

  /**
   * @param {string} url
   * @param {object} how
   * @param {string[]} how.types
   * @param {boolean} how.withCredentials
   * @param {boolean} how.heartbeat
   * @param {string} how.lastEventId
   * @param {number} how.keep
   * @param {(event: StreamEvent) => void} how.onevent
   * @param {(state: StreamState) => void} how.onstate
   * @param {() => void} how.onlate
   * @param {() => void} how.onunavailable
   * @param {() => Promise<string>} [how.renew]
   */
  constructor(url, how) {
    this.#url = url;
    this.#how = how;
    this.#id = how.lastEventId;
    this.#history = new History(how.keep, how.lastEventId);
    const wishes = [how.withCredentials ? 'with' : 'without', how.heartbeat ? '' : 'silent'];
    this.#name = ['sse', ...wishes.filter(Boolean), ...how.types, withoutLink(url)].join(' ');
    this.#flushSoon.port1.onmessage = () => this.#flush();
  }

  start() {
    if (this.#role !== 'away') return;
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#term = 0;
    this.#tell({ name: 'connecting' });
    globalThis.document?.addEventListener('visibilitychange', this.#checkWhenSeen);
    this.#follow();
    this.#watch = setInterval(() => this.#watchLeader(), WATCH_EVERY_MS);
  }

  /** Leaves the group; the next tab takes over. start() joins again. */
  stop() {
    if (this.#role === 'away') return;
    this.#flush();
    this.#role = 'away';
    globalThis.document?.removeEventListener('visibilitychange', this.#checkWhenSeen);
    clearInterval(this.#watch);
    this.#source?.stop();
    this.#source = null;
    this.#channel?.close();
    this.#channel = null;
    this.#candidacy.abort();
    this.#giveUpLock();
  }

  retry() {
    if (this.#source) this.#source.retry();
    else this.#post({ kind: 'retry' });
  }

  /** The leader sees only whether its own page is seen, and may be in a hidden tab. */
  #checkWhenSeen = () => {
    if (isVisible() && !this.#source) this.#post({ kind: 'check' });
  };

  // --- the lock

  #follow() {
    this.#role = 'following';
    this.#heardAt = Date.now();
    this.#ask();
    this.#campaign();
  }

  /** @param {{steal: true}} [force] */
  async #campaign(force) {
    this.#candidacy.abort();
    const candidacy = new AbortController();
    this.#candidacy = candidacy;
    try {
      const options = force ?? { signal: candidacy.signal };
      await navigator.locks.request(this.#name, options, () =>
        // It may have been on its way when we left.
        candidacy.signal.aborted ? undefined : this.#lead(),
      );
    } catch (error) {
      if (candidacy.signal.aborted) return;
      if (this.#role === 'leading' || /** @type {Error} */ (error).name === 'AbortError') {
        this.#stepDown();
      } else {
        this.stop();
        this.#how.onunavailable();
      }
    }
  }

  /** Somebody found us silent and took the lock. */
  #stepDown() {
    this.#outbox = [];
    this.#source?.stop();
    this.#source = null;
    if (this.#role === 'away' || this.#role === 'over') return;
    this.#follow();
  }

  /** @returns {Promise<void>} held until the lock is given up */
  #lead() {
    this.#role = 'leading';
    this.#isSynced = true;
    this.#term = Math.max(Date.now(), this.#term + 1);
    this.#post({ kind: 'lead', term: this.#term, seq: this.#seq, id: this.#id });
    this.#source = new Source(this.#url, {
      types: this.#how.types,
      withCredentials: this.#how.withCredentials,
      heartbeat: this.#how.heartbeat,
      lastEventId: this.#id,
      // The next leader among these tabs begins with the newest link.
      renew: this.#how.renew && (() => this.#getLink()),
      onevent: (event) => this.#distribute(event),
      onstate: (state) => this.#announce(state),
    });
    const released = new Promise((resolve) => {
      this.#giveUpLock = () => resolve(undefined);
    });
    this.#source.start();
    return released;
  }

  /** @returns {Promise<string>} */
  async #getLink() {
    this.#url = await /** @type {() => Promise<string>} */ (this.#how.renew)();
    return this.#url;
  }

  // --- leading

  /** @param {StreamEvent} event */
  #distribute(event) {
    const numbered = { ...event, seq: this.#seq + 1 };
    if (this.#outbox.push(numbered) === 1) this.#flushSoon.port2.postMessage(null);
    this.#take(numbered);
  }

  #flush() {
    if (this.#outbox.length === 0) return;
    this.#post({ kind: 'events', term: this.#term, events: this.#outbox });
    this.#outbox = [];
  }

  /** @param {StreamState} state */
  #announce(state) {
    this.#flush();
    this.#post({ kind: 'state', term: this.#term, state });
    if (state.name === 'finished') this.#finish();
    else this.#tell(state);
  }

  /** @param {{from: string, seq: number, id: string}} place */
  #answer({ from, seq, id }) {
    this.#flush();
    const rest = this.#history.after(seq, id);
    this.#post({
      kind: 'log',
      to: from,
      asked: { seq, id },
      term: this.#term,
      seq: this.#seq,
      id: this.#id,
      events: rest ?? this.#history.all(),
      late: rest === null,
      state: this.#state,
    });
  }

  // --- following

  #ask() {
    this.#isSynced = false;
    this.#post({ kind: 'ask', from: this.#me, seq: this.#seq, id: this.#id });
  }

  /** @param {any} message */
  #hear(message) {
    if (this.#role === 'over') return;
    if (this.#role === 'leading') {
      if (message.kind === 'ask') this.#answer(message);
      else if (message.kind === 'retry') this.#source?.retry();
      else if (message.kind === 'check') this.#source?.check();
      return;
    }
    if (!(message.term >= this.#term)) return;
    if (message.kind === 'log' && message.to !== this.#me) return;
    this.#term = message.term;
    this.#heardAt = Date.now();
    this.#isProbing = false;
    if (message.kind === 'lead') {
      // Ahead of the new leader or level with it: what comes again will be
      // recognised. Behind, or from elsewhere: ask.
      this.#isSynced = this.#history.after(message.seq, message.id) !== null;
      if (!this.#isSynced) this.#ask();
    } else if (message.kind === 'log') {
      this.#catchUp(message);
    } else if (message.kind === 'events' && this.#isSynced) {
      for (const event of message.events) {
        if (!this.#accept(event)) return;
      }
    } else if (message.kind === 'state') {
      if (message.state.name === 'finished') {
        // Only who has everything is at the end; others resume on their own.
        if (this.#isSynced) this.#finish();
      } else {
        this.#tell(message.state);
      }
    }
  }

  /** @param {any} log the leader's answer to #ask */
  #catchUp({ asked, seq, id, events, late, state }) {
    // An answer that was overtaken; what it brings is here already.
    if (this.#isSynced || asked.seq !== this.#seq || asked.id !== this.#id) return;
    const isAhead = late && this.#history.after(seq, id) !== null;
    if (!isAhead) {
      if (late) {
        this.#history.break();
        this.#how.onlate();
      }
      for (const event of events) this.#take(event);
      if (this.#role !== 'following') return;
      this.#seq = seq;
    }
    this.#isSynced = true;
    this.#tell(state);
  }

  /**
   * @param {Numbered} event
   * @returns {boolean} whether to go on with the next
   */
  #accept(event) {
    if (event.seq > this.#seq + 1) {
      this.#ask();
      return false;
    }
    if (event.seq === this.#seq + 1 || !this.#history.holds(event)) this.#take(event);
    return this.#role === 'following';
  }

  /** A leader that has nothing to say still answers when asked. */
  #watchLeader() {
    if (this.#role !== 'following' || !isVisible()) return;
    if (Date.now() - this.#heardAt < SILENCE_MS) return;
    if (this.#isProbing) {
      this.#isProbing = false;
      this.#heardAt = Date.now();
      this.#campaign({ steal: true });
    } else {
      this.#isProbing = true;
      this.#ask();
    }
  }

  // --- both

  /** @param {Numbered} event */
  #take(event) {
    this.#seq = event.seq;
    this.#id = event.id;
    this.#history.push(event);
    this.#how.onevent(event);
  }

  /** @param {StreamState} state */
  #tell(state) {
    this.#state = state;
    this.#how.onstate(state);
  }

  /**
   * The stream is over for this tab. A leader keeps the lock for a moment, so
   * that nobody is given it before hearing of the end, and starts the stream
   * again.
   */
  #finish() {
    const wasLeading = this.#role === 'leading';
    this.#role = 'over';
    this.#source = null;
    this.#tell({ name: 'finished' });
    if (wasLeading) setTimeout(() => this.stop(), LINGER_MS);
    else this.stop();
  }

  /** @param {object} message */
  #post(message) {
    this.#channel?.postMessage(message);
  }
}
