/**
 * What the responder's status page tells, and what follows from two of them.
 *
 * @module
 */

/**
 * @typedef {object} Figures
 * @property {number} subscribers open streams
 * @property {Record<string, number>} subscribers_by_stream
 * @property {number} catching_up those that read by themselves what others share
 * @property {number} events sent since the start, counted for each subscriber
 * @property {number} bytes
 * @property {number} dropped peers that took nothing, or sent nonsense
 * @property {number} accept_errors connections that could not be taken
 * @property {number} oldest_seconds age of the oldest stream
 * @property {number} uptime_seconds age of the process
 * @property {string} version
 */

const COUNTS = [
  'subscribers',
  'catching_up',
  'events',
  'bytes',
  'dropped',
  'accept_errors',
  'oldest_seconds',
  'uptime_seconds',
];

/**
 * @param {string} text
 * @returns {Figures | null} null when it is something else
 */
export function parseFigures(text) {
  let figures;
  try {
    figures = JSON.parse(text);
  } catch {
    return null;
  }
  const isCount = (/** @type {unknown} */ value) => Number.isFinite(value) && Number(value) >= 0;
  const byStream = figures?.subscribers_by_stream;
  const isWhole =
    COUNTS.every((name) => isCount(figures?.[name])) &&
    typeof byStream === 'object' &&
    byStream !== null &&
    Object.values(byStream).every(isCount) &&
    typeof figures.version === 'string';
  return isWhole ? figures : null;
}

/**
 * How much was sent in each second between two looks.
 *
 * @param {Figures} before
 * @param {Figures} after
 * @param {number} seconds
 * @returns {{events: number, bytes: number} | null} null when it cannot be
 *   said: another process counts from its own start
 */
export function rates(before, after, seconds) {
  const isSame =
    after.uptime_seconds >= before.uptime_seconds && after.events >= before.events && after.bytes >= before.bytes;
  if (!isSame || !(seconds > 0)) return null;
  return { events: (after.events - before.events) / seconds, bytes: (after.bytes - before.bytes) / seconds };
}

/** @param {number} value */
export const count = (value) => Math.round(value).toLocaleString('en');

/**
 * Of small numbers the tenths count.
 *
 * @param {number} value
 */
export function rate(value) {
  return value > 0 && value < 10 ? value.toFixed(1) : count(value);
}

/** @param {number} bytes */
export function size(bytes) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  // What would be shown as 1000 is one of the next.
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

/**
 * The two largest units say enough.
 *
 * @param {number} seconds
 */
export function span(seconds) {
  const whole = Math.floor(seconds);
  const parts = [
    [Math.floor(whole / 86_400), 'd'],
    [Math.floor(whole / 3600) % 24, 'h'],
    [Math.floor(whole / 60) % 60, 'min'],
    [whole % 60, 's'],
  ];
  const first = parts.findIndex(([value]) => Number(value) > 0);
  if (first === -1) return '0 s';
  return parts
    .slice(first, first + 2)
    .filter(([value]) => Number(value) > 0)
    .map(([value, unit]) => `${value} ${unit}`)
    .join(' ');
}
