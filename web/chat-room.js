/**
 * What a member knows of its room: who is here, and what was said, in the room's order.
 *
 * It makes no connection and has no page: events go in, callbacks come out.
 *
 * @module
 */

import { t } from './words.js';

/**
 * @typedef {object} Member
 * @property {string} tag what identifies it: two members can have one name
 * @property {string} nick
 */

/**
 * @typedef {object} Said
 * @property {string} place where it stands in the room's history
 * @property {string} tag '' where it was no member who said it
 * @property {string} nick
 * @property {string} text
 * @property {boolean} own
 */

/**
 * @typedef {object} RoomListener
 * @property {(said: Said, before: string | null) => void} onsaid `before`: the place of
 *   what it stands before; null: it is the last
 * @property {(words: string) => void} onnote that somebody came or went
 * @property {(members: Member[], count: number) => void} onmembers
 */

/** The events of a room besides unnamed ones. */
export const ROOM_EVENTS = ['welcome', 'join', 'leave'];

/** So many places are remembered, to know what was shown already. */
const KEEP = 2000;

export class ChatRoom {
  /** What a post names; '' before the first welcome. */
  session = '';
  /** @type {Member | null} */
  me = null;
  #listener;
  /** @type {Map<string, Member>} */
  #members = new Map();
  /** Here, but not named: a welcome names a thousand. */
  #unnamed = 0;
  /** The places of what was shown, in order. @type {string[]} */
  #places = [];
  /** Those of them that we said ourselves. @type {Set<string>} */
  #ownPlaces = new Set();
  /** The offset of what came down last. */
  #lastDown = -1;

  /** @param {RoomListener} listener */
  constructor(listener) {
    this.#listener = listener;
  }

  /** @param {import('./sse.js').StreamEvent} event */
  take = ({ type, data, id }) => {
    const told = parse(data);
    if (type === 'welcome') return this.#welcome(told);
    if (type === 'join' || type === 'leave') return this.#comesOrGoes(type, told);
    const { tag = '', nick = '' } = told ?? {};
    // Whoever can write the file says what it likes; then all of it is the message.
    const text = typeof tag === 'string' && tag !== '' ? words(told.data) : data;
    this.#add({ place: placeOf(id), tag: String(tag), nick: String(nick), text, own: false }, null);
  };

  /** What was said last so far; what comes after it may have been said after ours. */
  get lastPlace() {
    return this.#places.at(-1) ?? null;
  }

  /**
   * Takes in what we said, which does not come down to us.
   *
   * @param {string} id the answer to the post
   * @param {string} text
   * @param {string | null} after the last place when it was sent
   */
  said(id, text, after) {
    const { tag = '', nick = '' } = this.me ?? {};
    this.#add({ place: placeOf(id), tag, nick, text, own: true }, after);
  }

  /** @param {any} told */
  #welcome(told) {
    if (typeof told?.session !== 'string') return;
    this.session = told.session;
    this.me = { tag: String(told.tag), nick: String(told.nick) };
    this.#members.clear();
    for (const { tag, nick } of told.members ?? []) this.#members.set(String(tag), { tag: String(tag), nick: String(nick) });
    this.#unnamed = Math.max(0, Number(told.count) - this.#members.size) || 0;
    this.#tellMembers();
  }

  /**
   * @param {'join' | 'leave'} type
   * @param {any} told
   */
  #comesOrGoes(type, told) {
    if (typeof told?.tag !== 'string') return;
    const { tag } = told;
    const nick = String(told.nick);
    const wasHere = this.#members.has(tag);
    if (type === 'join') {
      this.#members.set(tag, { tag, nick });
      if (!wasHere) this.#listener.onnote(t('{nick} is here', { nick }));
    } else if (wasHere) {
      this.#members.delete(tag);
      this.#listener.onnote(t('{nick} has left', { nick }));
    }
    this.#tellMembers();
  }

  #tellMembers() {
    const members = [...this.#members.values()].sort((a, b) => a.nick.localeCompare(b.nick));
    this.#listener.onmembers(members, members.length + this.#unnamed);
  }

  /**
   * @param {Said} said
   * @param {string | null} after
   */
  #add(said, after) {
    // A new session hears what its old one said.
    if (this.#places.includes(said.place)) return;
    let at = this.#places.length;
    if (!said.own) {
      // Our own message may have been answered before what was said just before it came
      // down. (An offset that falls is that of a new file, and comes after all others.)
      const offset = offsetOf(said.place);
      const isBefore = (place) => this.#ownPlaces.has(place) && offsetOf(place) > offset;
      if (offset > this.#lastDown) while (at > 0 && isBefore(this.#places[at - 1])) at -= 1;
      this.#lastDown = offset;
    } else {
      this.#ownPlaces.add(said.place);
      // What came down since it was sent may stand after it; before that, a file may have
      // been exchanged, and places of two files cannot be compared.
      const from = after === null ? 0 : this.#places.indexOf(after) + 1;
      while (at > from && offsetOf(this.#places[at - 1]) > offsetOf(said.place)) at -= 1;
    }
    const before = this.#places[at] ?? null;
    this.#places.splice(at, 0, said.place);
    if (this.#places.length > KEEP) this.#ownPlaces.delete(this.#places.shift());
    this.#listener.onsaid(said, before);
  }
}

/** An id without its session: the same for all members. */
const placeOf = (/** @type {string} */ id) => id.slice(id.indexOf('.') + 1);

const offsetOf = (/** @type {string} */ place) => Number.parseInt(place, 10);

/** @param {unknown} data */
const words = (data) => (typeof data === 'string' ? data : JSON.stringify(data ?? ''));

/** @param {string} data */
function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    return null;
  }
}
