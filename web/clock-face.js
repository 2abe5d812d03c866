/**
 * The server's time, and how far this browser's clock is from it.
 *
 * @module
 */

import { locale, t } from './words.js';

/** @typedef {{time: string, epoch_ms: number, zone: string}} Tick */

const OFFSETS_KEPT = 10;

export class ClockFace {
  #time;
  #date;
  #zone;
  #offset;
  /** @type {number[]} */
  #offsets = [];

  /** @param {ParentNode} root holds `.clock-time`, and perhaps -date, -zone and -offset */
  constructor(root) {
    this.#time = root.querySelector('.clock-time');
    this.#date = root.querySelector('.clock-date');
    this.#zone = root.querySelector('.clock-zone');
    this.#offset = root.querySelector('.clock-offset');
  }

  /** @param {string} data a tick as the clock sends it; anything else is left alone */
  show(data) {
    /** @type {Tick} */
    let tick;
    try {
      tick = JSON.parse(data);
    } catch {
      return;
    }
    const parts = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)/.exec(tick?.time ?? '');
    if (!parts) return;
    put(this.#time, parts[2]);
    this.#time?.setAttribute('datetime', tick.time);
    // The server's own day, whatever day it is here.
    const day = new Date(`${parts[1]}T00:00:00Z`);
    put(this.#date, day.toLocaleDateString(locale, { dateStyle: 'full', timeZone: 'UTC' }));
    put(this.#zone, `UTC${tick.zone === 'Z' ? '' : tick.zone}`);
    put(this.#offset, this.#measure(tick.epoch_ms));
  }

  /**
   * An event is never early, but late by its way through the network. So the
   * one of the last few that puts the server furthest ahead is nearest to the
   * truth.
   *
   * @param {number} epochMs
   */
  #measure(epochMs) {
    this.#offsets.push(epochMs - Date.now());
    if (this.#offsets.length > OFFSETS_KEPT) this.#offsets.shift();
    const ahead = Math.max(...this.#offsets);
    if (!Number.isFinite(ahead)) return '';
    const size = Math.abs(ahead) < 1000 ? `${Math.abs(ahead)} ms` : `${(Math.abs(ahead) / 1000).toFixed(1)} s`;
    if (ahead === 0) return t('the same to the millisecond');
    return t(ahead > 0 ? 'the server is {size} ahead' : 'the server is {size} behind', { size });
  }
}

/**
 * @param {Element | null} element
 * @param {string} text
 */
function put(element, text) {
  if (element) element.textContent = text;
}
