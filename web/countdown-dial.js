/**
 * A number in a ring that empties. The first number seen is the full ring.
 *
 * @module
 */

export class CountdownDial {
  #root;
  #number;
  #ring;
  #full = 0;

  /** @param {Element | null} root holds `.dial-number` and `.dial-ring` */
  constructor(root) {
    if (!(root instanceof HTMLElement)) throw new TypeError('no element for the dial');
    this.#root = root;
    this.#number = root.querySelector('.dial-number');
    this.#ring = /** @type {SVGCircleElement | null} */ (root.querySelector('.dial-ring'));
  }

  clear() {
    this.#full = 0;
    this.#root.classList.remove('over');
    this.#draw('–', 1);
  }

  /** @param {string} data a plain number; anything else is left alone */
  show(data) {
    const left = Number(data);
    if (data.trim() === '' || !Number.isFinite(left)) return;
    this.#full = Math.max(this.#full, left);
    this.#draw(data, this.#full > 0 ? left / this.#full : 0);
  }

  finish() {
    this.#root.classList.add('over');
  }

  /**
   * @param {string} text
   * @param {number} share 0 to 1
   */
  #draw(text, share) {
    if (this.#number) this.#number.textContent = text;
    // The circle's pathLength is 100.
    if (this.#ring) this.#ring.style.strokeDashoffset = String(100 - 100 * share);
  }
}
