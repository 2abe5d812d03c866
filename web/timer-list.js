/**
 * How often each event of a script came, and a bar that fills until the next.
 *
 * @module
 */

import { t } from './words.js';

/** @typedef {{type: string, label: string, everyS: number}} Timer */

export class TimerList {
  /** @type {Map<string, {count: number, number: HTMLElement, bar: HTMLElement}>} */
  #timers = new Map();

  /**
   * @param {HTMLElement} list
   * @param {Timer[]} timers
   */
  constructor(list, timers) {
    for (const { type, label, everyS } of timers) {
      const item = document.createElement('li');
      const line = document.createElement('div');
      line.className = 'line';
      const words = document.createElement('span');
      const name = document.createElement('code');
      name.textContent = label;
      words.append(name, t(' every {s} s', { s: everyS }));
      const number = document.createElement('span');
      number.className = 'count';
      number.textContent = '0';
      line.append(words, number);
      const track = document.createElement('div');
      track.className = 'bar';
      const bar = document.createElement('i');
      bar.style.setProperty('--period', `${everyS}s`);
      track.append(bar);
      item.append(line, track);
      list.append(item);
      this.#timers.set(type, { count: 0, number, bar });
    }
  }

  /** @param {string} type of the event that came */
  ring(type) {
    const timer = this.#timers.get(type);
    if (!timer) return;
    timer.count += 1;
    timer.number.textContent = String(timer.count);
    timer.bar.classList.remove('runs');
    // Read so that the browser sees the class go, and runs the animation anew.
    void timer.bar.offsetWidth;
    timer.bar.classList.add('runs');
  }
}
