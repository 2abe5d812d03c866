/**
 * A figure over the last minutes, as a line.
 *
 * @module
 */

import { t } from './words.js';

const WIDTH = 600;
const HEIGHT = 160;
const SVG = 'http://www.w3.org/2000/svg';

/** @typedef {{at: number, value: number | null}} Sample `at` in milliseconds; null where it is not known */

/**
 * A round number above this one, whose half is one, too: the top of the scale.
 *
 * @param {number} value
 */
export function roundUp(value) {
  if (!(value >= 4)) return 4;
  const power = 10 ** Math.floor(Math.log10(value));
  return [2, 4, 6, 8, 10, 20].map((step) => step * power).find((step) => step > value) ?? 2 * value;
}

/**
 * The line's course: where the figure is not known, it breaks.
 *
 * @param {Sample[]} samples
 * @param {{from: number, until: number, top: number}} range
 * @returns {string} what `d` of a path takes
 */
export function course(samples, { from, until, top }) {
  let path = '';
  let isDown = false;
  for (const { at, value } of samples) {
    if (value === null) {
      isDown = false;
      continue;
    }
    const x = ((at - from) / (until - from)) * WIDTH;
    const y = HEIGHT - (value / top) * HEIGHT;
    path += `${isDown ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`;
    isDown = true;
  }
  return path;
}

export class Plot {
  /** @type {Sample[]} */
  #samples = [];
  /** @type {number | null} where the pointer is */
  #clientX = null;
  #windowMs;
  #say;
  #root;
  #line = document.createElementNS(SVG, 'path');
  #area = document.createElementNS(SVG, 'path');
  #cross = document.createElementNS(SVG, 'line');
  #top = document.createElement('span');
  #middle = document.createElement('span');
  #reading = document.createElement('span');

  /**
   * @param {HTMLElement} root an empty one
   * @param {object} options
   * @param {number} options.seconds how far back it goes
   * @param {string} options.label for who cannot see it
   * @param {(value: number) => string} options.say
   */
  constructor(root, { seconds, label, say }) {
    this.#root = root;
    this.#windowMs = seconds * 1000;
    this.#say = say;
    const svg = document.createElementNS(SVG, 'svg');
    svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute('preserveAspectRatio', 'none');
    svg.setAttribute('role', 'img');
    svg.setAttribute('aria-label', label);
    const grid = document.createElementNS(SVG, 'path');
    grid.setAttribute('d', `M0 0H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT}H${WIDTH}`);
    for (const [element, name] of /** @type {const} */ ([
      [grid, 'grid-line'],
      [this.#area, 'area'],
      [this.#line, 'line'],
      [this.#cross, 'cross'],
    ])) {
      element.setAttribute('class', name);
      svg.append(element);
    }
    this.#cross.setAttribute('y1', '0');
    this.#cross.setAttribute('y2', String(HEIGHT));
    const ago = document.createElement('span');
    ago.textContent = seconds % 60 ? t('{n} s ago', { n: seconds }) : t('{n} min ago', { n: seconds / 60 });
    const now = document.createElement('span');
    now.textContent = t('now');
    for (const [element, name] of /** @type {const} */ ([
      [this.#top, 'top-label'],
      [this.#middle, 'middle-label'],
      [ago, 'ago-label'],
      [now, 'now-label'],
      [this.#reading, 'reading'],
    ])) {
      element.className = name;
      element.setAttribute('aria-hidden', 'true');
    }
    root.classList.add('plot');
    root.replaceChildren(svg, this.#top, this.#middle, ago, now, this.#reading);
    root.addEventListener('pointermove', (event) => this.#point(event.clientX));
    root.addEventListener('pointerleave', () => this.#point(null));
    this.#read();
  }

  /**
   * @param {number} at
   * @param {number | null} value
   */
  add(at, value) {
    this.#samples.push({ at, value });
    // One more than can be seen, so that the line comes in from the side.
    while (this.#samples.length > 1 && this.#samples[1].at < at - this.#windowMs) this.#samples.shift();
    const from = at - this.#windowMs;
    const known = this.#samples.flatMap(({ value }) => (value === null ? [] : [value]));
    const top = roundUp(Math.max(0, ...known));
    const d = course(this.#samples, { from, until: at, top });
    this.#line.setAttribute('d', d);
    this.#area.setAttribute('d', filled(d));
    this.#top.textContent = this.#say(top);
    this.#middle.textContent = this.#say(top / 2);
    this.#read();
  }

  /** @param {number | null} clientX */
  #point(clientX) {
    this.#clientX = clientX;
    this.#read();
  }

  #read() {
    const clientX = this.#clientX;
    const box = this.#root.getBoundingClientRect();
    const last = this.#samples.at(-1);
    let nearest = null;
    if (clientX !== null && last && box.width > 0) {
      const at = last.at - this.#windowMs * (1 - (clientX - box.left) / box.width);
      const far = (/** @type {Sample} */ sample) => Math.abs(sample.at - at);
      const all = this.#samples.filter((sample) => sample.value !== null);
      nearest = all.reduce((best, sample) => (best && far(best) <= far(sample) ? best : sample), all[0]);
      // Where nothing was measured there is nothing to read.
      if (nearest && far(nearest) > 2000) nearest = null;
    }
    this.#cross.toggleAttribute('hidden', !nearest);
    this.#reading.hidden = !nearest;
    if (!nearest || !last) return;
    const agoMs = last.at - nearest.at;
    const x = String(WIDTH * (1 - agoMs / this.#windowMs));
    this.#cross.setAttribute('x1', x);
    this.#cross.setAttribute('x2', x);
    const when = agoMs < 500 ? 'now' : `${Math.round(agoMs / 1000)} s ago`;
    this.#reading.textContent = `${this.#say(/** @type {number} */ (nearest.value))}, ${when}`;
  }
}

/**
 * What is below the line, down to zero.
 *
 * @param {string} d
 */
function filled(d) {
  return d
    .split('M')
    .filter(Boolean)
    .map((piece) => {
      const points = piece.split('L');
      const x = (/** @type {string} */ point) => point.split(' ')[0];
      return `M${x(points[0])} ${HEIGHT}L${points.join('L')}L${x(points[points.length - 1])} ${HEIGHT}Z`;
    })
    .join('');
}
