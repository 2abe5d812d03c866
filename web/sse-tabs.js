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
 * Tabs that want several streams in one connection (sse-streams.js) are one
 * group, whatever streams and types of an address each wants: the connection
 * has the union, every tab is given all of it, and connect() drops what the tab
 * did not ask for. In such a group:
 *  - When a tab wants another stream, the leader makes a new connection with all
 *    of them, after its last id. What nobody has wanted for some seconds is left
 *    out by another one.
 *  - A tab is `open` when the connection has all of its streams.
 *  - A tab whose streams do not fit into the connection any more goes to another
 *    group, which has a connection of its own.
 *  - A connection may bring what tabs already have in another order between
 *    streams. So every tab, the leader too, drops what it has (StreamHistory).
 *
 * @module
 */

import { History, StreamHistory } from './sse-history.js';
import { Source, isVisible } from './sse-source.js';
import { Union, partOf, splitType } from './sse-streams.js';

export { History } from './sse-history.js';

/** @typedef {import('./sse.js').StreamEvent} StreamEvent */
/** @typedef {import('./sse.js').StreamState} StreamState */
/** @typedef {import('./sse-history.js').Numbered} Numbered */

const LINGER_MS = 500;
const WATCH_EVERY_MS = 5_000;
const SILENCE_MS = 15_000;
/** Tabs that open together want their streams together. */
const GATHER_MS = 50;

/**
 * The address without a signed link or a token, which differ from tab to tab.
 *
 * @param {string} url
 * @param {string[]} [fields] those of the query that belong to a link
 */
export function withoutLink(url, fields = ['e', 'p', 't', 'token']) {
  const bare = new URL(url);
  for (const name of fields) {
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
  /** @type {History | StreamHistory} */
  #history;
  /** Of several streams in one connection. @type {Union | null} */
  #union = null;
  /** The streams that the connection is asked for. @type {string[]} */
  #asked = [];
  /** The streams of the connection when it was last opened. @type {string[]} */
  #live = [];
  #gathering = 0;
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
   * @param {string[]} [how.streams] these streams in one connection; the types are theirs
   * @param {boolean} how.withCredentials
   * @param {boolean} how.heartbeat
   * @param {string} how.lastEventId
   * @param {number} how.keep
   * @param {(event: StreamEvent) => void} how.onevent
   * @param {(state: StreamState) => void} how.onstate
   * @param {(streams: string[]) => void} how.onlate none are named if there is only one
   * @param {() => void} how.onunavailable
   * @param {() => Promise<string>} [how.renew]
   */
  constructor(url, how) {
    this.#url = url;
    this.#how = how;
    this.#id = how.lastEventId;
    const wishes = [how.withCredentials ? 'with' : 'without', how.heartbeat ? '' : 'silent'].filter(Boolean);
    if (how.streams) {
      // A link's path is among what is asked for: it may open other streams than another link.
      this.#name = ['sse-streams', ...wishes, withoutLink(url, ['e', 't', 'token'])].join(' ');
      this.#union = new Union(this.#name, { streams: how.streams, types: how.types });
      this.#history = new StreamHistory(how.keep);
    } else {
      this.#name = ['sse', ...wishes, ...how.types, withoutLink(url)].join(' ');
      this.#history = new History(how.keep, how.lastEventId);
    }
    this.#flushSoon.port1.onmessage = () => this.#flush();
  }

  start() {
    if (this.#role !== 'away') return;
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#term = 0;
    this.#live = [];
    this.#union?.hold();
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
    clearTimeout(this.#gathering);
    this.#source?.stop();
    this.#source = null;
    this.#union?.release();
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
    const released = new Promise((resolve) => {
      this.#giveUpLock = () => resolve(undefined);
    });
    if (this.#union) this.#gather();
    else this.#begin();
    return released;
  }

  #begin() {
    this.#post({ kind: 'lead', term: this.#term, seq: this.#seq, id: this.#id, ...this.#shared() });
    this.#source = new Source(this.#address(), {
      types: this.#union?.types ?? this.#how.types,
      withCredentials: this.#how.withCredentials,
      heartbeat: this.#how.heartbeat,
      lastEventId: this.#id,
      // The next leader among these tabs begins with the newest link.
      renew: this.#how.renew && (() => this.#getLink()),
      onevent: (event) => this.#distribute(event),
      onstate: (state) => this.#announce(state),
    });
    this.#source.start();
  }

  #address() {
    if (!this.#union) return this.#url;
    this.#asked = this.#union.snapshot().streams;
    return this.#union.address(this.#url);
  }

  /** @returns {Promise<string>} */
  async #getLink() {
    this.#url = await /** @type {() => Promise<string>} */ (this.#how.renew)();
    return this.#address();
  }

  // --- leading a group with several streams

  /** Begins with what all tabs want. */
  async #gather() {
    const term = this.#term;
    const wishes = await this.#wishes();
    if (this.#role !== 'leading' || this.#term !== term) return;
    const together = { ...wishes[0] };
    for (const { streams, types } of wishes) {
      const more = { streams: [...new Set([...together.streams, ...streams])], types: [...together.types, ...types] };
      if (/** @type {Union} */ (this.#union).hasRoomFor(more)) Object.assign(together, more);
    }
    this.#want(together);
    this.#begin();
  }

  /** @returns {Promise<import('./sse-streams.js').Wish[]>} */
  async #wishes() {
    const union = /** @type {Union} */ (this.#union);
    // Locks may be there, and their list refused.
    return union.wishes().catch(() => [union.wish]);
  }

  /**
   * A tab wants these streams: the connection will have them.
   *
   * @param {import('./sse-streams.js').Wish} wish
   */
  #want(wish) {
    const history = /** @type {StreamHistory} */ (this.#history);
    const { streams, types } = /** @type {Union} */ (this.#union).add(wish);
    for (const stream of streams) history.add(stream, this.#seq);
    for (const type of types) history.miss(type, this.#seq);
    for (const type of wish.types) {
      const { stream } = splitType(type);
      // It is resumed: its first events are not known.
      if (streams.includes(stream) && partOf(this.#id, stream)) history.miss(type, this.#seq);
    }
    if (!this.#source || streams.length + types.length === 0) return;
    this.#post({ kind: 'union', term: this.#term, ...this.#shared() });
    if (streams.length === 0) this.#source.listen(types);
    else this.#moveSoon();
  }

  #moveSoon() {
    if (this.#gathering) return;
    this.#gathering = setTimeout(() => {
      this.#gathering = 0;
      this.#source?.move(this.#address(), /** @type {Union} */ (this.#union).types);
    }, GATHER_MS);
  }

  /** Leaves out what nobody wants any more. */
  async #review() {
    const wishes = await this.#wishes();
    if (!this.#source) return;
    const removed = /** @type {Union} */ (this.#union).shrink(wishes, Date.now());
    if (removed.length === 0) return;
    for (const stream of removed) /** @type {StreamHistory} */ (this.#history).remove(stream);
    this.#post({ kind: 'union', term: this.#term, ...this.#shared() });
    this.#moveSoon();
  }

  /** What the other tabs have to know of a group with several streams. */
  #shared() {
    if (!this.#union) return {};
    const knowledge = /** @type {StreamHistory} */ (this.#history).knowledge();
    return { union: this.#union.snapshot(), live: this.#live, ...knowledge };
  }

  // --- leading

  /** @param {StreamEvent} event */
  #distribute(event) {
    const numbered = { ...event, seq: this.#seq + 1 };
    if (this.#outbox.push(numbered) === 1) this.#flushSoon.port2.postMessage(null);
    this.#takeNew(numbered);
  }

  #flush() {
    if (this.#outbox.length === 0) return;
    this.#post({ kind: 'events', term: this.#term, events: this.#outbox });
    this.#outbox = [];
  }

  /** @param {StreamState} state */
  #announce(state) {
    this.#flush();
    if (this.#union) {
      if (state.name === 'open') this.#live = this.#asked;
      // What was connected is over, and somebody wants more.
      if (state.name === 'finished' && this.#gathering) return;
    }
    this.#post({ kind: 'state', term: this.#term, state, live: this.#live });
    if (state.name === 'finished') this.#finish();
    else this.#tell(state);
  }

  /** @param {{from: string, seq: number, id: string, wish?: import('./sse-streams.js').Wish}} place */
  #answer({ from, seq, id, wish }) {
    this.#flush();
    if (wish && !this.#union?.hasRoomFor(wish)) return this.#post({ kind: 'full', to: from, term: this.#term });
    if (wish) this.#want(wish);
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
      ...this.#shared(),
    });
  }

  // --- following

  #ask() {
    this.#isSynced = false;
    this.#post({ kind: 'ask', from: this.#me, seq: this.#seq, id: this.#id, wish: this.#union?.wish });
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
    if (message.to && message.to !== this.#me) return;
    if (message.kind === 'full') return this.#goElsewhere();
    this.#term = message.term;
    this.#heardAt = Date.now();
    this.#isProbing = false;
    if (message.union) this.#union?.become(message.union);
    if (message.live) this.#live = message.live;
    if (message.kind === 'lead') {
      // Ahead of the new leader or level with it: what comes again will be
      // recognised. Behind, or from elsewhere: ask.
      this.#isSynced = this.#history.after(message.seq, message.id) !== null;
      if (this.#union && !this.#union.isComplete()) this.#isSynced = false;
      if (!this.#isSynced) this.#ask();
    } else if (message.kind === 'union') {
      if (this.#isSynced) /** @type {StreamHistory} */ (this.#history).adapt(message);
    } else if (message.kind === 'log') {
      this.#catchUp(message);
    } else if (message.kind === 'events' && this.#isSynced) {
      for (const event of message.events) {
        if (!this.#accept(event)) return;
      }
    } else if (message.kind === 'state') {
      if (message.state.name === 'finished') {
        // Only who has everything is at the end; others resume on their own.
        if (this.#isSynced && this.#isServed()) this.#finish();
      } else {
        this.#tell(message.state);
      }
    }
  }

  /** There is no room for what this tab wants. */
  #goElsewhere() {
    const { wish } = /** @type {Union} */ (this.#union);
    this.stop();
    this.#name += ' more';
    this.#union = new Union(this.#name, wish);
    this.start();
  }

  /** @param {any} log the leader's answer to #ask */
  #catchUp({ asked, seq, id, events, late, state, forgotten, added }) {
    // An answer that was overtaken; what it brings is here already.
    if (this.#isSynced || asked.seq !== this.#seq || asked.id !== this.#id) return;
    if (this.#history instanceof StreamHistory) {
      if (!this.#join({ events, late, forgotten, added })) return;
      this.#seq = seq;
      this.#id = id;
      this.#isSynced = true;
      return this.#tell(state);
    }
    const isAhead = late && this.#history.after(seq, id) !== null;
    if (!isAhead) {
      if (late) {
        this.#history.break();
        this.#how.onlate([]);
      }
      for (const event of events) this.#take(event);
      if (this.#role !== 'following') return;
      this.#seq = seq;
    }
    this.#isSynced = true;
    this.#tell(state);
  }

  /**
   * Several streams: what is new is known by the events themselves.
   *
   * @param {any} log
   * @returns {boolean} whether to go on
   */
  #join({ events, late, forgotten, added }) {
    const history = /** @type {StreamHistory} */ (this.#history);
    if (!late) {
      history.adapt({ forgotten, added });
      for (const event of events) this.#takeNew(event);
      return this.#role === 'following';
    }
    const { types } = /** @type {Union} */ (this.#union).wish;
    const joined = history.join({ events, forgotten, added }, types, this.#id);
    if (joined.late.length) this.#how.onlate(joined.late);
    for (const event of joined.fresh) {
      if (this.#role !== 'following') return false;
      this.#how.onevent(event);
    }
    return this.#role === 'following';
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
    if (this.#union) {
      this.#takeNew(event);
      return this.#role === 'following';
    }
    if (event.seq === this.#seq + 1 || !this.#history.holds(event)) this.#take(event);
    return this.#role === 'following';
  }

  /** A leader that has nothing to say still answers when asked. */
  #watchLeader() {
    if (this.#role === 'leading' && this.#union) this.#review();
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

  /**
   * Takes an event, unless it is one of several streams and known.
   *
   * @param {Numbered} event
   */
  #takeNew(event) {
    if (!this.#union || !this.#history.holds(event)) return this.#take(event);
    if (event.seq === this.#seq + 1) this.#seq = event.seq;
  }

  /** Whether the connection has all that this tab wants. */
  #isServed() {
    return !this.#union || this.#union.isServedBy(this.#live);
  }

  /** @param {StreamState} state */
  #tell(state) {
    this.#state = state;
    this.#how.onstate(state.name === 'open' && !this.#isServed() ? { name: 'connecting' } : state);
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
