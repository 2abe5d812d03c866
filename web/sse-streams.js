/**
 * Several streams in one connection: how they are asked for, how their events are named, and which
 * of them the tabs of a browser want together.
 *
 * The server names an event `builds/update`: the stream, then the event's own name, which is
 * `message` when it has none. A stream's own `gap`, `close` and `unavailable` are named so too; the
 * same names without a stream are the connection's. Each event has one id for all streams, with a
 * part for each stream.
 *
 * It has no connection (sse-source.js does) and tells nobody anything (sse-tabs.js does).
 *
 * @module
 */

/**
 * @typedef {object} Wish
 * @property {string[]} streams
 * @property {string[]} types of these streams, as the server names them
 */

/** A stream that nobody wants is kept for so long: somebody may be on the way to another page. */
const UNWANTED_MS = 10_000;
/** The positions of so many files fit into one id; more streams than that are not taken together. */
const STREAMS_MAX = 13;

/** What the connection itself has to say, for all streams; a Source reads the rest. */
export const OF_CONNECTION = ['gap', 'close'];

/** What each stream has to say besides its events. */
const OWN = ['message', 'gap', 'close', 'unavailable'];

/**
 * @param {string[]} streams
 * @returns {string[]} each once
 */
export function checkNames(streams) {
  for (const name of streams) {
    if (typeof name !== 'string' || !/^[^/\s]+$/.test(name)) {
      throw new TypeError(`streams: ${JSON.stringify(name)} is not the name of a stream`);
    }
  }
  if (streams.length === 0) throw new TypeError('streams: name at least one');
  return [...new Set(streams)].sort();
}

/**
 * The event types to listen for.
 *
 * @param {string[]} streams
 * @param {string[]} events `update` of each stream, or `builds/update` of one of these
 */
export function typesOf(streams, events) {
  const types = new Set(streams.flatMap((name) => OWN.map((type) => `${name}/${type}`)));
  for (const event of events) {
    if (streams.includes(splitType(event).stream)) types.add(event);
    else for (const name of streams) types.add(`${name}/${event}`);
  }
  return [...types].sort();
}

/**
 * @param {string} type
 * @returns {{stream: string, type: string}} the stream is '' where there is none
 */
export function splitType(type) {
  const slash = type.indexOf('/');
  return { stream: type.slice(0, Math.max(0, slash)), type: type.slice(slash + 1) };
}

/**
 * The address that asks for these streams.
 *
 * @param {string} url
 * @param {Iterable<string>} streams
 */
export function withStreams(url, streams) {
  const address = new URL(url);
  address.searchParams.delete('s');
  for (const name of streams) address.searchParams.append('s', name);
  return address.href;
}

/** The digits of an id for several streams: what is visible and may be in a cookie. */
const DIGITS = Array.from({ length: 94 }, (_, n) => String.fromCharCode(33 + n)).filter((one) => !'",;\\'.includes(one));

/**
 * The part of an id that is one stream's: two connections that bring an event in another order
 * between streams give it another id, of which this part is the same.
 *
 * An id is `*`, then a part for each stream, which has 19 characters for a file and 13 for a Redis
 * Stream. The first character and the quotient of the others are a tag, which is a hash of the name
 * (src/event/composite.rs).
 *
 * @param {string} id
 * @param {string} stream
 * @returns {string} '' where it has none
 */
export function partOf(id, stream) {
  if (!stream || id[0] !== '*') return '';
  const tag = tagOf(stream);
  for (let at = 1; at < id.length; ) {
    const first = DIGITS.indexOf(id[at]);
    const isFile = first < 45;
    const part = id.slice(at, at + (isFile ? 19 : 13));
    at += part.length;
    if (first % 45 !== Math.floor(tag / 28)) continue;
    let number = 0n;
    for (const one of part.slice(1)) number = number * 90n + BigInt(DIGITS.indexOf(one));
    if (Number(number >> (isFile ? 112n : 73n)) === tag % 28) return part;
  }
  return '';
}

/**
 * FNV-1a, of a stream's name.
 *
 * @param {string} stream
 */
function tagOf(stream) {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(stream)) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0) % 1260;
}

/**
 * What the tabs of a browser want together, in one connection.
 *
 * Each tab holds a Web Lock whose name tells what it wants. So whoever has the connection can ask
 * the browser for the wishes of all tabs that are there, and a tab that goes away, however it goes,
 * takes its wish along.
 */
export class Union {
  #prefix;
  #giveUp = () => {};
  /** @type {Set<string>} */
  #streams = new Set();
  /** @type {Set<string>} */
  #types = new Set();
  /** Since when nobody wants a stream. @type {Map<string, number>} */
  #unwanted = new Map();

  /**
   * @param {string} group the name of the tabs that share a connection
   * @param {Wish} wish of this tab
   */
  constructor(group, wish) {
    this.#prefix = `${group} wish `;
    this.wish = wish;
  }

  /** The event types to listen for. */
  get types() {
    return [...this.#types, ...OF_CONNECTION];
  }

  /** Tells the wish of this tab, until release(). */
  hold() {
    const gone = new AbortController();
    const released = new Promise((resolve) => {
      this.#giveUp = () => {
        gone.abort();
        resolve(undefined);
      };
    });
    // Each tab has a lock of its own.
    const name = `${this.#prefix}${JSON.stringify({ ...this.wish, tab: Math.random() })}`;
    // Where locks are refused, the group says so.
    navigator.locks.request(name, { signal: gone.signal }, () => released).catch(() => {});
  }

  release() {
    this.#giveUp();
  }

  /**
   * The wishes of all tabs that are there, and of this one.
   *
   * @returns {Promise<Wish[]>}
   */
  async wishes() {
    const { held = [] } = await navigator.locks.query();
    const names = held.map(({ name = '' }) => name).filter((name) => name.startsWith(this.#prefix));
    return [this.wish, ...names.map((name) => JSON.parse(name.slice(this.#prefix.length)))];
  }

  /**
   * Whether there is room for what another tab wants.
   *
   * @param {Wish} wish
   */
  hasRoomFor({ streams }) {
    const more = streams.filter((stream) => !this.#streams.has(stream));
    return more.length === 0 || this.#streams.size + more.length <= STREAMS_MAX;
  }

  /**
   * Adds what a tab wants.
   *
   * @param {Wish} wish
   * @returns {{streams: string[], types: string[]}} what was added: streams, and types of streams
   *   that were there
   */
  add({ streams, types }) {
    const added = [...new Set(streams)].filter((stream) => !this.#streams.has(stream));
    for (const stream of streams) this.#unwanted.delete(stream);
    for (const stream of added) this.#streams.add(stream);
    const more = [...new Set(types)].filter((type) => !this.#types.has(type));
    for (const type of more) this.#types.add(type);
    return { streams: added, types: more.filter((type) => !added.includes(splitType(type).stream)) };
  }

  /**
   * Removes the streams that nobody has wanted for a while.
   *
   * @param {Wish[]} wishes of all tabs
   * @param {number} nowMs
   * @returns {string[]} what was removed
   */
  shrink(wishes, nowMs) {
    const wanted = new Set(wishes.flatMap(({ streams }) => streams));
    for (const stream of this.#streams) {
      if (wanted.has(stream)) this.#unwanted.delete(stream);
      else if (!this.#unwanted.has(stream)) this.#unwanted.set(stream, nowMs);
    }
    const over = [...this.#unwanted].filter(([, since]) => nowMs - since >= UNWANTED_MS);
    const removed = over.map(([stream]) => stream);
    for (const stream of removed) {
      this.#unwanted.delete(stream);
      this.#streams.delete(stream);
      for (const type of this.#types) if (splitType(type).stream === stream) this.#types.delete(type);
    }
    return removed;
  }

  /** What another tab has to know of it. */
  snapshot() {
    return { streams: [...this.#streams], types: [...this.#types] };
  }

  /**
   * Takes over what the tab with the connection says.
   *
   * @param {Wish} other
   */
  become({ streams, types }) {
    this.#streams = new Set(streams);
    this.#types = new Set(types);
  }

  /**
   * Whether these streams are all that this tab wants.
   *
   * @param {Iterable<string>} streams
   */
  isServedBy(streams) {
    const there = new Set(streams);
    return this.wish.streams.every((stream) => there.has(stream));
  }

  /** Whether it has all that this tab wants. */
  isComplete() {
    return this.isServedBy(this.#streams) && this.wish.types.every((type) => this.#types.has(type));
  }

  /** @param {string} url the address without streams */
  address(url) {
    return withStreams(url, [...this.#streams].sort());
  }
}
