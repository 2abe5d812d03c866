import { status } from './config.js';
import { ConnectionBadge } from './connection-badge.js';
import { byId, showProblem } from './page.js';
import { Plot } from './plot.js';
import { count, parseFigures, rate, rates, size, span } from './status-figures.js';
import { shortAddress, streamAddress } from './stream-address.js';
import { locale, t } from './words.js';

/** @typedef {import('./status-figures.js').Figures} Figures */

const EVERY_MS = 1000;
const PATIENCE_MS = 5000;
const SECONDS = 120;

const { url, refused } = streamAddress(status);
byId('source').textContent = shortAddress(url);
const refusal = refused === null ? '' : t('“{refused}” is no address of a status page; this is the usual one.', { refused });
showProblem(refusal);

const badge = new ConnectionBadge(byId('state'));
const figuresCard = byId('figures');
const streamRows = byId('streams');
const subscribersPlot = new Plot(byId('subscribers-plot'), {
  seconds: SECONDS,
  label: t('Open streams over the last minutes'),
  say: count,
});
const eventsPlot = new Plot(byId('events-plot'), {
  seconds: SECONDS,
  label: t('Events per second over the last minutes'),
  say: rate,
});

/** @type {{figures: Figures, at: number} | null} */
let last = null;
let lastSeen = '';

/** Why there are no figures; in words. */
class Unreachable extends Error {
  /** @param {string} words @param {number} [status] */
  constructor(words, status) {
    super(words);
    this.status = status;
  }
}

/** @returns {Promise<Figures>} */
async function look() {
  let response;
  let text;
  try {
    response = await fetch(url, {
      headers: { Accept: 'application/json' },
      cache: 'no-store',
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    text = await response.text();
  } catch {
    throw new Unreachable(t('the server does not answer'));
  }
  if (!response.ok) throw new Unreachable(t('the server answers {status}', { status: response.status }), response.status);
  const figures = parseFigures(text);
  if (!figures) throw new Unreachable(t('what answers is no status page of sse-fcgi'));
  return figures;
}

/** @param {Figures} figures */
function show(figures) {
  const at = performance.now();
  const pace = last && rates(last.figures, figures, (at - last.at) / 1000);
  if (last && figures.uptime_seconds < last.figures.uptime_seconds) {
    byId('note').textContent = t('The responder was started again; its counters began anew.');
  }
  last = { figures, at };
  lastSeen = new Date().toLocaleTimeString(locale);
  subscribersPlot.add(at, figures.subscribers);
  eventsPlot.add(at, pace?.events ?? null);
  put('subscribers', count(figures.subscribers));
  put('events-rate', pace ? rate(pace.events) : '–');
  put('bytes-rate', pace ? `${size(pace.bytes)}/s` : '–');
  put('catching-up', count(figures.catching_up));
  put('events', count(figures.events));
  put('bytes', size(figures.bytes));
  put('dropped', count(figures.dropped));
  put('accept-errors', count(figures.accept_errors));
  put('oldest', figures.subscribers > 0 ? span(figures.oldest_seconds) : t('none'));
  put('uptime', span(figures.uptime_seconds));
  put('version', figures.version);
  byId('dropped').classList.toggle('trouble', figures.dropped > 0);
  byId('accept-errors').classList.toggle('trouble', figures.accept_errors > 0);
  showStreams(figures);
  figuresCard.classList.remove('stale');
  badge.show({ name: 'open' });
  showProblem(refusal);
}

/** @param {Figures} figures */
function showStreams({ subscribers, subscribers_by_stream: byStream }) {
  const rows = Object.entries(byStream).sort(([a, m], [b, n]) => n - m || a.localeCompare(b));
  streamRows.replaceChildren(
    ...rows.map(([name, number]) => {
      const row = document.createElement('tr');
      const head = document.createElement('th');
      head.scope = 'row';
      head.textContent = name;
      const bar = document.createElement('td');
      const fill = document.createElement('i');
      fill.style.width = `${subscribers > 0 ? (number / subscribers) * 100 : 0}%`;
      bar.append(fill);
      const value = document.createElement('td');
      value.textContent = count(number);
      row.append(head, bar, value);
      return row;
    }),
  );
}

/** @param {Unreachable} trouble */
function showTrouble(trouble) {
  const at = performance.now();
  subscribersPlot.add(at, null);
  eventsPlot.add(at, null);
  figuresCard.classList.toggle('stale', last !== null);
  const seen = last ? t(' What is shown is of {time}.', { time: lastSeen }) : '';
  // Said once, not every second: it is read aloud.
  const words = t('The responder cannot be reached: {reason}.', { reason: trouble.message }) + seen;
  if (byId('problem').textContent !== words) showProblem(words);
  badge.show({ name: 'waiting', status: trouble.status, retryAt: Date.now() + EVERY_MS });
}

/**
 * @param {string} id
 * @param {string} text
 */
function put(id, text) {
  byId(id).textContent = text;
}

async function poll() {
  const began = performance.now();
  // A page that nobody sees asks for nothing.
  if (!document.hidden) {
    try {
      show(await look());
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      showTrouble(error);
    }
  }
  setTimeout(poll, Math.max(100, EVERY_MS - (performance.now() - began)));
}

badge.show({ name: 'connecting' });
poll();
