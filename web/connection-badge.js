/**
 * The state of a connection, as a dot and a word.
 *
 * Whether it is announced to screen readers is up to the page: where it matters
 * the element has role="status". The seconds that run are hidden from them.
 *
 * @module
 */

import { t } from './words.js';

/** @typedef {import('./sse.js').StreamState} StreamState */

const WORDS = {
  connecting: 'connecting…',
  open: 'live',
  waiting: 'waiting',
  finished: 'finished',
  closed: 'stopped',
};

/** @param {StreamState} state */
function wordsFor({ name, reason, status, retryAt }) {
  if (reason) return retryAt ? t('{reason}, trying again', { reason: t(reason) }) : t(reason);
  if (status) return t('the server answers {status}, trying again', { status });
  return t(retryAt ? 'no connection, trying again' : WORDS[name]);
}

export class ConnectionBadge {
  #element;
  #word = document.createElement('span');
  #seconds = document.createElement('span');
  #timer = 0;

  /** @param {Element | null} element an empty one */
  constructor(element) {
    if (!(element instanceof HTMLElement)) throw new TypeError('no element for the badge');
    this.#element = element;
    this.#seconds.setAttribute('aria-hidden', 'true');
    element.classList.add('badge');
    element.replaceChildren(this.#word, this.#seconds);
  }

  /** @param {StreamState} state */
  show = (state) => {
    clearInterval(this.#timer);
    this.#element.dataset.state = state.name;
    this.#say(wordsFor(state));
    this.#seconds.textContent = '';
    if (state.retryAt) {
      const { retryAt } = state;
      const tick = () => {
        const left = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
        this.#seconds.textContent = t(' in {left} s', { left });
      };
      tick();
      this.#timer = setInterval(tick, 500);
    }
  };

  /** @param {string} word */
  #say(word) {
    // Set only when it changes, as each setting may be read aloud.
    if (this.#word.textContent !== word) this.#word.textContent = word;
  }
}
