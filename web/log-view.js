/**
 * A list of lines that may grow by thousands a second.
 *
 * Lines are only noted down when they come; the page is touched once a frame,
 * with no more lines than are kept. Knows nothing of connections.
 *
 * @module
 */

/**
 * @typedef {object} LogCounts
 * @property {number} received lines ever
 * @property {number} kept lines that are remembered
 * @property {number} shown of those, the ones that pass the filter
 * @property {number} held lines that came since it was paused, and wait
 */

/** @typedef {{text: string, kind: 'line' | 'gap' | 'note', name: string, element: HTMLElement | null}} Entry */

const LONGEST_SHOWN_CHARS = 10_000;
const LEVELS = /** @type {const} */ ([
  ['error', /\b(?:ERROR|ERR|FATAL|CRIT(?:ICAL)?|EMERG|ALERT|PANIC)\b|[[:="](?:error|fatal|crit|emerg|alert)\b/],
  ['warn', /\bWARN(?:ING)?\b|[[:="]warn(?:ing)?\b/],
  ['info', /\b(?:INFO|NOTICE)\b|[[:="](?:info|notice)\b/],
  ['debug', /\b(?:DEBUG|TRACE)\b|[[:="](?:debug|trace)\d?\b/],
]);

/**
 * @param {string} text
 * @returns {'error' | 'warn' | 'info' | 'debug' | ''}
 */
export function levelOf(text) {
  // Where the level is said it is said early; long lines need no long search.
  const start = text.slice(0, 200);
  return LEVELS.find(([, pattern]) => pattern.test(start))?.[0] ?? '';
}

/**
 * `/…/` or `/…/i` is a regular expression; anything else is searched for as it
 * is, in either case of letters.
 *
 * @param {string} text
 * @returns {((line: string) => boolean) | null} null for a bad expression
 */
export function parseFilter(text) {
  if (text === '') return () => true;
  const expression = /^\/(.+)\/([a-z]*)$/s.exec(text);
  if (expression) {
    try {
      // `g` and `y` would make a test depend on the one before.
      const pattern = new RegExp(expression[1], expression[2].replace(/[gy]/g, ''));
      return (line) => pattern.test(line);
    } catch {
      return null;
    }
  }
  const wanted = text.toLowerCase();
  return (line) => line.toLowerCase().includes(wanted);
}

export class LogView {
  #list;
  #limit;
  #oncount;
  #onfollow;
  /** @type {Entry[]} */
  #entries = [];
  /** @type {Entry[]} */
  #incoming = [];
  #received = 0;
  #kept = 0;
  #shown = 0;
  #held = 0;
  #frame = 0;
  #lastTop = 0;
  #isPaused = false;
  #isFollowing = true;
  #filter = parseFilter('') ?? (() => true);

  /**
   * @param {HTMLElement} list scrolls by itself
   * @param {object} [options]
   * @param {number} [options.limit] lines to keep
   * @param {(counts: LogCounts) => void} [options.oncount] once a frame at most
   * @param {(isFollowing: boolean) => void} [options.onfollow] changed by scrolling
   */
  constructor(list, { limit = 2000, oncount = () => {}, onfollow = () => {} } = {}) {
    this.#list = list;
    this.#limit = limit;
    this.#oncount = oncount;
    this.#onfollow = onfollow;
    list.addEventListener('scroll', () => this.#noticeScroll(), { passive: true });
  }

  /**
   * @param {string} text
   * @param {string} [name] the event's, when it has one
   */
  add(text, name = '') {
    this.#received += 1;
    if (this.#isPaused) this.#held += 1;
    this.#note({ text, kind: 'line', name, element: null });
  }

  /**
   * A row that is no line of the log: always shown, whatever the filter.
   *
   * @param {string} text
   * @param {'gap' | 'note'} kind
   */
  remark(text, kind) {
    this.#note({ text, kind, name: '', element: null });
  }

  get isEmpty() {
    return this.#received === 0;
  }

  clear() {
    this.#entries = [];
    this.#incoming = [];
    this.#received = 0;
    this.#kept = 0;
    this.#shown = 0;
    this.#held = 0;
    this.#list.replaceChildren();
    this.#schedule();
  }

  /** @param {boolean} isPaused */
  pause(isPaused) {
    this.#isPaused = isPaused;
    this.#held = 0;
    this.#schedule();
  }

  /** @param {boolean} isFollowing */
  follow(isFollowing) {
    this.#isFollowing = isFollowing;
    this.#schedule();
  }

  /** @param {number} limit */
  limit(limit) {
    this.#limit = limit;
    this.#schedule();
  }

  /** @param {(line: string) => boolean} filter */
  filter(filter) {
    this.#filter = filter;
    this.#shown = 0;
    const rows = document.createDocumentFragment();
    for (const entry of this.#entries) this.#render(entry, rows);
    this.#list.replaceChildren(rows);
    this.#schedule();
  }

  /** @param {Entry} entry */
  #note(entry) {
    this.#incoming.push(entry);
    // What would not be kept anyhow need not wait. Halved now and then, not
    // shifted one by one.
    if (this.#incoming.length > 2 * this.#limit) this.#incoming = this.#incoming.slice(-this.#limit);
    this.#schedule();
  }

  #schedule() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw() {
    if (!this.#isPaused && this.#incoming.length > 0) {
      const fresh = this.#incoming.slice(-this.#limit);
      this.#incoming = [];
      const rows = document.createDocumentFragment();
      for (const entry of fresh) {
        this.#entries.push(entry);
        if (entry.kind === 'line') this.#kept += 1;
        this.#render(entry, rows);
      }
      this.#list.append(rows);
    }
    this.#forget();
    if (this.#isFollowing) this.#list.scrollTop = this.#list.scrollHeight;
    this.#lastTop = this.#list.scrollTop;
    this.#oncount({
      received: this.#received,
      kept: this.#kept,
      shown: this.#shown,
      held: this.#held,
    });
  }

  #forget() {
    const excess = this.#entries.length - this.#limit;
    if (excess <= 0) return;
    const dropped = this.#entries.splice(0, excess);
    const first = this.#entries.find((entry) => entry.element)?.element;
    const isAllGone = !first && dropped.some((entry) => entry.element);
    for (const entry of dropped) {
      if (entry.kind !== 'line') continue;
      this.#kept -= 1;
      if (entry.element) this.#shown -= 1;
    }
    if (isAllGone) {
      this.#list.replaceChildren();
    } else if (first) {
      while (this.#list.firstChild !== first) this.#list.firstChild?.remove();
    }
  }

  /**
   * @param {Entry} entry
   * @param {DocumentFragment} rows
   */
  #render(entry, rows) {
    entry.element = null;
    if (entry.kind === 'line' && !this.#filter(entry.text)) return;
    const row = document.createElement('div');
    row.className = `row ${entry.kind} ${entry.kind === 'line' ? levelOf(entry.text) : ''}`.trim();
    const hidden = entry.text.length - LONGEST_SHOWN_CHARS;
    row.textContent =
      hidden > 0 ? `${entry.text.slice(0, LONGEST_SHOWN_CHARS)} … and ${hidden} characters more` : entry.text;
    if (entry.name) row.dataset.event = entry.name;
    entry.element = row;
    if (entry.kind === 'line') this.#shown += 1;
    rows.append(row);
  }

  /** Scrolling up lets go of the end, scrolling down to it follows again. */
  #noticeScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.#list;
    const isAtEnd = scrollHeight - clientHeight - scrollTop < 4;
    const isUp = scrollTop < this.#lastTop - 4;
    this.#lastTop = scrollTop;
    if (this.#isFollowing ? !isUp || isAtEnd : !isAtEnd) return;
    this.#isFollowing = isAtEnd;
    this.#onfollow(isAtEnd);
  }
}
