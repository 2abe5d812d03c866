/**
 * A table of flights, kept by events: an unnamed one with all flights,
 * `flightStateUpdate` and `flightRemoval` with one. Knows nothing of
 * connections.
 *
 * @module
 */

import { t } from './words.js';

/** @typedef {import('./sse.js').StreamEvent} StreamEvent */
/** @typedef {{flight: string, origin?: string, scheduled?: string, state?: string}} Flight */

export const FLIGHT_EVENTS = ['flightStateUpdate', 'flightRemoval'];

export class FlightBoard {
  #body;
  #onchange;
  /** @type {Map<string, HTMLTableRowElement>} */
  #rows = new Map();

  /**
   * @param {HTMLTableSectionElement} body
   * @param {(words: string) => void} [onchange] what changed, in a few words
   */
  constructor(body, onchange = () => {}) {
    this.#body = body;
    this.#onchange = onchange;
  }

  clear() {
    this.#rows.clear();
    this.#body.replaceChildren();
  }

  /** @param {StreamEvent} event one that cannot be read changes nothing */
  handle = ({ type, data }) => {
    let record;
    try {
      record = JSON.parse(data);
    } catch {
      return;
    }
    if (type === 'message' && Array.isArray(record)) this.#fill(record);
    else if (type === 'flightStateUpdate') this.#update(record);
    else if (type === 'flightRemoval') this.#remove(record);
  };

  /** @param {Flight[]} flights */
  #fill(flights) {
    this.clear();
    for (const flight of flights) {
      if (!flight?.flight) continue;
      const row = document.createElement('tr');
      const name = document.createElement('th');
      name.scope = 'row';
      name.textContent = String(flight.flight);
      row.append(name);
      for (const text of [flight.origin, flight.scheduled]) {
        row.insertCell().textContent = String(text ?? '');
      }
      const state = document.createElement('span');
      state.className = 'chip';
      row.insertCell().append(state);
      setState(row, String(flight.state ?? ''));
      this.#rows.set(String(flight.flight), row);
      this.#body.append(row);
    }
    this.#onchange(t('the whole table, {count} flights', { count: this.#rows.size }));
  }

  /** @param {Flight} change */
  #update(change) {
    const row = this.#rows.get(String(change?.flight));
    if (!row) return;
    setState(row, String(change.state ?? ''));
    row.classList.remove('changed');
    // Read so that the browser sees the class go, and runs the animation anew.
    void row.offsetWidth;
    row.classList.add('changed');
    this.#onchange(`${change.flight} ${change.state}`);
  }

  /** @param {Flight} change */
  #remove(change) {
    const name = String(change?.flight);
    const row = this.#rows.get(name);
    if (!row) return;
    row.remove();
    this.#rows.delete(name);
    this.#onchange(t('{name} removed', { name }));
  }
}

/**
 * @param {HTMLTableRowElement} row
 * @param {string} state
 */
function setState(row, state) {
  const chip = /** @type {HTMLElement} */ (row.querySelector('.chip'));
  chip.textContent = state;
  chip.dataset.flight = state.toLowerCase();
}
