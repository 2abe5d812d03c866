/**
 * What works on this server: whether events arrive at once, by which protocol, and whether a
 * client can resume; and what to change if not.
 *
 * @module
 */

import { gateway, gateways } from './config.js';
import { byId } from './page.js';
import { t } from './words.js';

/** How long an event may take: the clock has one a second. */
const PATIENCE_MS = 8000;
/** Events that are looked at. */
const EVENTS = 4;
/** Two that arrive closer together than this came in one batch. */
const APART_MS = 300;

/**
 * @typedef {object} Result
 * @property {string} what
 * @property {boolean} works
 * @property {string} result
 * @property {string} [remedy]
 */

/** The addresses of a stream under its names, for all that this gateway has. */
function addresses(name) {
  const address = gateways[gateway](name);
  if (gateway !== 'cgi') return [address];
  const plain = address.replace('/nph-', '/');
  return [plain.replace(/([^/]+)$/, 'nph-$1'), plain];
}

/** The protocol by which this page came, which its streams have, too. */
function protocol() {
  const [page] = performance.getEntriesByType('navigation');
  return /** @type {any} */ (page)?.nextHopProtocol ?? '';
}

/**
 * Opens a stream and notes when its first events arrive.
 *
 * @param {string} url
 * @returns {Promise<{ status: number, type: string, times: number[], hasEnded: boolean }>}
 */
async function listen(url) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), PATIENCE_MS);
  const heard = { status: 0, type: '', times: /** @type {number[]} */ ([]), hasEnded: false };
  try {
    const response = await fetch(url, { cache: 'no-store', signal: abort.signal });
    heard.status = response.status;
    heard.type = response.headers.get('Content-Type') ?? '';
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    while (reader && heard.times.length < EVENTS) {
      const { done, value } = await reader.read();
      if (done) {
        heard.hasEnded = true;
        break;
      }
      const now = performance.now();
      for (const _ of value.matchAll(/^data:/gm)) heard.times.push(now);
    }
  } catch {
    // What has been heard until then is the result.
  } finally {
    clearTimeout(timer);
    abort.abort();
  }
  return heard;
}

/**
 * @param {string} url
 * @returns {Promise<Result>}
 */
async function checkEvents(url) {
  const what = t('Events from {url}', { url });
  const { status, type, times, hasEnded } = await listen(url);
  const fails = (result, remedy) => ({ what, works: false, result: t(result), remedy: t(remedy) });
  if (status === 0) return fails('no answer', 'Is the server reached at all? A proxy may hold the answer back.');
  if (status === 403) return fails('403', 'The server may not run programs here: see .htaccess, and the mode 755.');
  if (status === 404) return fails('404', 'Nothing has this name: upload the program, or edit config.js.');
  if (status !== 200) return fails(String(status), 'The reason is in the server’s error log; docs/shared-hosting.md explains it.');
  if (!type.startsWith('text/event-stream')) {
    return fails(t('not a stream, but {type}', { type: type || t('something without a type') }), 'The server shows the program instead of running it: AddHandler cgi-script .cgi');
  }
  if (times.length === 0) return fails('nothing arrives', batches(url));
  // One pair may have been delayed by the browser.
  const together = times.slice(1).filter((time, index) => time - times[index] < APART_MS);
  if (together.length > 1) return fails('in batches', batches(url));
  if (times.length < EVENTS && !hasEnded) {
    return fails('slowly', t('Fewer than {n} events in {s} s. If SSE_INTERVAL is not longer:', { n: EVENTS, s: PATIENCE_MS / 1000 }) + ` ${t(batches(url))}`);
  }
  if (times.length < EVENTS && !url.includes('nph-')) {
    return fails('ends early', 'A time limit of the server or of a proxy ends the answer; the server’s error log may say which.');
  }
  // A program that gives short answers over HTTP/2, because Apache holds the rest back.
  if (times.length < EVENTS) return { what, works: true, result: t('in short answers'), remedy: t('Use the name without nph-.') };
  return { what, works: true, result: t('at once') };
}

/** What to do when something between program and browser collects events. */
function batches(url) {
  return url.includes('nph-')
    ? 'Use the name without nph-. Or a proxy collects the answer: docs/behind-a-proxy.md'
    : 'Something compresses or collects the answer. Do not compress text/event-stream; try the name with nph-.';
}

/** @returns {Result} */
function checkProtocol() {
  const name = protocol();
  const result = name || t('unknown');
  const what = t('Protocol');
  if (/^h[23]/.test(name)) return { what, works: true, result };
  return { what, works: true, result, remedy: t('A browser opens six connections to a host: the sixth stream waits. Use https, or sse.js, which shares one among all tabs.') };
}

/**
 * Says it has seen the end of a countdown, to which the answer is 204.
 *
 * @param {string} url
 * @returns {Promise<Result>}
 */
async function checkLastId(url) {
  const what = 'Last-Event-ID';
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), PATIENCE_MS);
  try {
    const headers = { 'Last-Event-ID': `${Date.now()}-end` };
    const { status } = await fetch(url, { cache: 'no-store', headers, signal: abort.signal });
    if (status === 204) return { what, works: true, result: t('reaches the program') };
    if (status === 200) return { what, works: false, result: t('is lost'), remedy: t('The server or a proxy drops the field: a client that returns begins anew. Let it pass.') };
    return { what, works: false, result: String(status), remedy: t('See the error log: {url}', { url }) };
  } catch {
    return { what, works: false, result: t('no answer'), remedy: t('Nothing came from {url}', { url }) };
  } finally {
    clearTimeout(timer);
    abort.abort();
  }
}

/** @param {Result} result */
function show({ what, works, result, remedy = '' }) {
  const row = byId('results').appendChild(document.createElement('tr'));
  row.dataset.works = String(works);
  for (const text of [what, result, remedy]) row.appendChild(document.createElement('td')).textContent = text;
}

async function check() {
  byId('results').replaceChildren();
  byId('again').hidden = true;
  byId('state').textContent = t('checking …');
  show(checkProtocol());
  const urls = addresses('clock');
  const results = [];
  // One after the other: a host may allow few programs at a time.
  for (const url of urls) {
    results.push(await checkEvents(url));
    show(results[results.length - 1]);
  }
  const lastId = await checkLastId(addresses('countdown')[urls.length - 1]);
  show(lastId);
  const works = results.some((result) => result.works);
  byId('state').textContent = t(
    works && lastId.works ? 'everything works' : works ? 'streams work' : 'streams do not work',
  );
  byId('again').hidden = false;
}

byId('again').addEventListener('click', check);
check();
