/**
 * The server under test, as the environment describes it, and a browser.
 *
 *   SSE_TEST_BASE        address of the pages, e.g. http://127.0.0.1:8080/
 *   SSE_TEST_LOG         the file behind tail.cgi; tests append to it
 *   SSE_TEST_SERVER_PID  the server's process: only CGI programs among its
 *                        descendants are ever killed; or, where the server
 *                        gives its children away:
 *   SSE_TEST_CGI_BIN     the folder the programs are run from
 *   SSE_TEST_PREFIX      `nph-` (the default), or empty for the plain names
 *   SSE_TEST_SHOTS       folder for screenshots; default: none are kept
 *   SSE_TEST_CHROMIUM    another one than /usr/bin/chromium
 */
import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { isDescendant, killAll, processes } from './processes.js';

export { launch } from './chromium.js';
export { until } from './until.js';

const {
  SSE_TEST_BASE,
  SSE_TEST_LOG,
  SSE_TEST_SERVER_PID,
  SSE_TEST_CGI_BIN,
  SSE_TEST_PREFIX = 'nph-',
  SSE_TEST_SHOTS,
} = process.env;

if (!SSE_TEST_BASE || !SSE_TEST_LOG || !(SSE_TEST_SERVER_PID || SSE_TEST_CGI_BIN)) {
  throw new Error(
    'the server under test is not known: set SSE_TEST_BASE, SSE_TEST_LOG, and SSE_TEST_SERVER_PID or SSE_TEST_CGI_BIN (site.js says what they mean)',
  );
}

const base = SSE_TEST_BASE.endsWith('/') ? SSE_TEST_BASE : `${SSE_TEST_BASE}/`;

/** @param {string} path relative to the pages */
export const address = (path) => new URL(path, base).href;

/** @param {string} name clock, countdown, flights, tail or timers */
export const stream = (name) => new URL(`/cgi-bin/${SSE_TEST_PREFIX}${name}.cgi`, base).href;

/**
 * A page of ours on one stream.
 *
 * @param {string} page e.g. `log.html`
 * @param {string} name
 */
export const pageOf = (page, name) => address(`${page}?stream=${encodeURIComponent(stream(name))}`);

/**
 * A fresh profile: no locks, channels or connections of another test. Its
 * pages note down their EventSources, so that a test can see who has one.
 *
 * @param {import('playwright-core').Browser} browser
 * @param {import('playwright-core').BrowserContextOptions} [options]
 */
export async function newProfile(browser, options = {}) {
  // A server under test has no certificate that anybody vouches for.
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
  await context.addInitScript(() => {
    const sources = [];
    window.eventSources = sources;
    window.EventSource = class extends window.EventSource {
      constructor(...args) {
        super(...args);
        sources.push(this);
      }
    };
  });
  return context;
}

/** How many connections a page has, or wants. */
export const connectionsOf = (page) =>
  page.evaluate(() => window.eventSources.filter((source) => source.readyState !== 2).length);

let batch = 0;

/**
 * Lines that no other test wrote, with a number each.
 *
 * @param {number} count
 */
export function newLines(count) {
  batch += 1;
  const mark = `${process.pid.toString(36)}-${Date.now().toString(36)}-${batch}`;
  return Array.from({ length: count }, (_, n) => `${mark} line ${n + 1}`);
}

/** @param {string[]} lines */
export function appendToLog(lines) {
  appendFileSync(SSE_TEST_LOG, lines.map((line) => `${line}\n`).join(''));
}

/** The log's last lines, as whoever joins now sees them first. */
export const logTail = () => readFileSync(SSE_TEST_LOG, 'utf8').split('\n').slice(0, -1).slice(-10);

/**
 * The server's running processes of one program, under any of its names.
 *
 * @param {string} program e.g. `tail`
 */
export function cgiProcesses(program) {
  const names = ['', 'nph-'].flatMap((p) => [`${p}${program}`, `${p}${program}.cgi`]);
  return processes(({ pid, executable }) => {
    if (!names.includes(basename(executable))) return false;
    return SSE_TEST_SERVER_PID
      ? isDescendant(pid, Number(SSE_TEST_SERVER_PID))
      : dirname(executable) === SSE_TEST_CGI_BIN;
  });
}

/**
 * Kills every process of a program without a chance to say goodbye.
 *
 * @param {string} program
 */
export const killCgi = (program) => killAll(cgiProcesses(program));

/**
 * A page on phones and on a desk, by day and by night; nothing of it may be cut off at the side.
 *
 * @param {import('playwright-core').Page} page
 * @param {(look: string) => Promise<unknown>} visit
 */
export async function eachLook(page, visit) {
  for (const [size, width, height] of /** @type {const} */ ([['desk', 1280, 900], ['phone', 390, 844], ['small', 320, 568]])) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
      await page.emulateMedia({ colorScheme });
      const tooWide = await page.evaluate(() =>
        [document.documentElement, ...document.querySelectorAll('nav, table')]
          .filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth)
          .map(({ localName, scrollWidth, clientWidth }) => `${localName}: ${scrollWidth} px in ${clientWidth}`));
      assert.deepEqual(tooWide, [], `${page.url()} at ${width} px`);
      await visit(`${size}-${colorScheme}`);
    }
  }
}

/**
 * Whether the page has noticed, from now on, that it lost its connection: it may have
 * another one before a test looks.
 *
 * @param {import('playwright-core').Page} page
 * @returns {Promise<() => Promise<boolean>>}
 */
export async function noticeLoss(page) {
  await page.evaluate(() => {
    const badge = document.querySelector('#state');
    window.hasLost = false;
    const notice = () => (window.hasLost ||= badge.dataset.state !== 'open');
    new MutationObserver(notice).observe(badge, { attributes: true });
  });
  return () => page.evaluate(() => window.hasLost);
}

/**
 * @param {import('playwright-core').Page} page
 * @param {string} name
 */
export async function shoot(page, name) {
  const options = { fullPage: false, animations: /** @type {const} */ ('disabled') };
  if (!SSE_TEST_SHOTS) return page.screenshot(options);
  mkdirSync(SSE_TEST_SHOTS, { recursive: true });
  return page.screenshot({ ...options, path: join(SSE_TEST_SHOTS, `${name}.png`) });
}
