/**
 * A gap, said in words.
 *
 * @module
 */

import { t } from './words.js';

/** @typedef {import('./sse.js').Gap} Gap */

/** @type {Record<string, string>} */
const WORDS = {
  'bad-id': 'the place to go on from could not be read',
  'unknown-id': 'the place to go on from is not in this file',
  expired: 'what was missed is too far back',
  truncated: 'the file was cut short',
  rotated: 'the file was replaced',
  cut: 'the line before was too long and was cut',
  late: 'earlier lines are not remembered by any tab',
};

/** @param {Gap} gap */
export function gapWords({ reason, bytes }) {
  const words = t(WORDS[reason] ?? reason);
  return Number.isFinite(bytes) ? t('Gap: {words} ({bytes} bytes)', { words, bytes: Number(bytes) }) : t('Gap: {words}', { words });
}
