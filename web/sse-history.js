/**
 * The events that a tab was given, so that it can give them to tabs that join, and knows those that
 * come again.
 *
 * @module
 */

import { partOf, splitType } from './sse-streams.js';

/** @typedef {import('./sse.js').StreamEvent} StreamEvent */
/** @typedef {StreamEvent & {seq: number}} Numbered */

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
 * The events of several streams, as far as a tab remembers them: the last `keep` of each stream, at
 * most 2 M characters in all. What is no longer remembered, it knows by its type.
 */
export class StreamHistory {
  /** @type {Numbered[]} */
  #events = [];
  #chars = 0;
  #keep;
  /** @type {Map<string, number>} how many events of each stream are remembered */
  #counts = new Map();
  /** @type {Map<string, number>} how often an event of this key is remembered */
  #keys = new Map();
  /** @type {Record<string, number>} the last number of each type that is not remembered */
  #forgotten = {};
  /** @type {Record<string, number>} the number after which each stream was added */
  #added = {};

  /** @param {number} keep */
  constructor(keep) {
    this.#keep = keep;
  }

  /** @param {Numbered} event */
  push(event) {
    const { stream } = splitType(event.type);
    this.#events.push(event);
    this.#count(event, 1);
    if ((this.#counts.get(stream) ?? 0) > this.#keep) {
      this.#forget(this.#events.findIndex(({ type }) => splitType(type).stream === stream));
    }
    while (this.#chars > LONGEST_HISTORY_CHARS) this.#forget(0);
  }

  /**
   * An event is known by its stream's part of the id; one without is known by its number.
   *
   * @param {Numbered} event
   */
  holds(event) {
    return this.#keys.has(keyOf(event));
  }

  /**
   * What came after a place; null when that is not remembered of every stream.
   *
   * @param {number} seq
   * @param {string} id
   * @returns {Numbered[] | null}
   */
  after(seq, id) {
    const at = this.#events.findLastIndex((event) => event.seq === seq && event.id === id);
    const isOlder = (/** @type {number} */ than) => than > seq;
    if (at < 0 || [...Object.values(this.#forgotten), ...Object.values(this.#added)].some(isOlder)) return null;
    return this.#events.slice(at + 1);
  }

  /**
   * A stream is received from now on.
   *
   * @param {string} stream
   * @param {number} seq
   */
  add(stream, seq) {
    this.remove(stream);
    this.#added[stream] = seq;
  }

  /**
   * A stream is no longer received.
   *
   * @param {string} stream
   */
  remove(stream) {
    delete this.#added[stream];
    for (const type of Object.keys(this.#forgotten)) {
      if (splitType(type).stream === stream) delete this.#forgotten[type];
    }
    const isOf = (/** @type {Numbered} */ { type }) => splitType(type).stream === stream;
    for (const event of this.#events) if (isOf(event)) this.#count(event, -1);
    this.#events = this.#events.filter((event) => !isOf(event));
  }

  /**
   * Takes over what the tab with the connection knows of streams and types.
   *
   * @param {{forgotten: Record<string, number>, added: Record<string, number>}} other
   */
  adapt({ forgotten, added }) {
    for (const [stream, seq] of Object.entries(this.#added)) if (added[stream] !== seq) this.remove(stream);
    this.#forgotten = { ...forgotten };
    this.#added = { ...added };
  }

  /**
   * A type of a stream is received from now on, and may have been missed before.
   *
   * @param {string} type
   * @param {number} seq
   */
  miss(type, seq) {
    this.#forgotten[type] = seq;
  }

  all() {
    return this.#events.slice();
  }

  /** What another tab needs to know of them. */
  knowledge() {
    return { forgotten: { ...this.#forgotten }, added: { ...this.#added } };
  }

  /**
   * Takes over what another tab knows.
   *
   * @param {{events: Numbered[], forgotten: Record<string, number>, added: Record<string, number>}} other
   * @param {string[]} types those that this tab wants
   * @param {string} id after which it wants them, where it remembers none
   * @returns {{fresh: Numbered[], late: string[]}} its events that were not known here, and the
   *   streams of which something may be missing before them
   */
  join({ events, forgotten, added }, types, id) {
    const streamOf = (/** @type {Numbered} */ event) => splitType(event.type).stream;
    /** @type {Set<string>} */
    const late = new Set();
    /** @type {Map<string, number>} up to where each stream's events are known here */
    const known = new Map();
    const theirs = new Map(events.map((event, at) => [keyOf(event), at]));
    for (const stream of new Set(types.map((type) => splitType(type).stream).filter(Boolean))) {
      const isOf = (/** @type {Numbered} */ event) => streamOf(event) === stream;
      const own = this.#events.findLast(isOf);
      const last = events.findLast(isOf);
      const part = partOf(own?.id ?? id, stream);
      const at = own
        ? (theirs.get(keyOf(own)) ?? -1)
        : events.findLastIndex((event) => part && isOf(event) && partOf(event.id, stream) === part);
      if (at >= 0) known.set(stream, at);
      else if (last && this.holds(last)) known.set(stream, events.length);
      else if (own || part) late.add(stream);
    }
    for (const type of types) {
      const { stream } = splitType(type);
      if (type in forgotten && !known.has(stream)) late.add(stream);
    }
    for (const stream of late) this.remove(stream);
    const fresh = events.filter((event, at) => at > (known.get(streamOf(event)) ?? -1) && !this.holds(event));
    const older = this.#events.filter((event) => !theirs.has(keyOf(event)) && streamOf(event) in added);
    this.#events = [];
    this.#chars = 0;
    this.#counts.clear();
    this.#keys.clear();
    this.#forgotten = { ...forgotten };
    this.#added = { ...added };
    for (const event of [...older, ...events]) this.push(event);
    return { fresh, late: [...late] };
  }

  /** @param {number} at */
  #forget(at) {
    const [event] = this.#events.splice(at, 1);
    this.#count(event, -1);
    this.#forgotten[event.type] = Math.max(event.seq, this.#forgotten[event.type] ?? 0);
  }

  /**
   * @param {Numbered} event
   * @param {1 | -1} change
   */
  #count(event, change) {
    const { stream } = splitType(event.type);
    this.#chars += change * event.data.length;
    this.#counts.set(stream, (this.#counts.get(stream) ?? 0) + change);
    const key = keyOf(event);
    const times = (this.#keys.get(key) ?? 0) + change;
    if (times) this.#keys.set(key, times);
    else this.#keys.delete(key);
  }
}

/** @param {Numbered} event */
function keyOf({ seq, type, data, id }) {
  return [type, partOf(id, splitType(type).stream) || seq, data].join('\n');
}
