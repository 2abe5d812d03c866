import { setTimeout as pause } from 'node:timers/promises';

/**
 * Waits for a condition, not for a time.
 *
 * @template T
 * @param {string} what for the message
 * @param {() => T | Promise<T>} condition
 * @param {number} [deadlineMs]
 * @returns {Promise<NonNullable<T>>}
 */
export async function until(what, condition, deadlineMs = 20_000) {
  const end = Date.now() + deadlineMs;
  let last;
  for (;;) {
    last = await condition();
    if (last) return last;
    if (Date.now() > end) throw new Error(`waited ${deadlineMs} ms in vain: ${what}`);
    await pause(50);
  }
}
