import { streams } from './config.js';
import { ConnectionBadge } from './connection-badge.js';
import { gapWords } from './gap-words.js';
import { LogView, parseFilter } from './log-view.js';
import { byId, showProblem } from './page.js';
import { connect } from './sse.js';
import { linkFields, parseStreamAddress, shortAddress, streamAddress, withLink } from './stream-address.js';
import { locale, t } from './words.js';

const counts = byId('counts');
const follow = byId('follow');
const pause = byId('pause');
const filter = /** @type {HTMLInputElement} */ (byId('filter'));
const limit = /** @type {HTMLSelectElement} */ (byId('limit'));
const streamField = /** @type {HTMLInputElement} */ (byId('stream'));
const eventsField = /** @type {HTMLInputElement} */ (byId('events'));

let isPaused = false;
const plural = (/** @type {number} */ n) => t(n === 1 ? '{n} line' : '{n} lines', { n: n.toLocaleString(locale) });

const view = new LogView(byId('log'), {
  limit: Number(limit.value),
  oncount({ received, kept, shown, held }) {
    const parts = [plural(received)];
    if (kept < received - held) parts.push(t('{n} kept', { n: kept.toLocaleString(locale) }));
    if (shown < kept) parts.push(t('{n} shown', { n: shown.toLocaleString(locale) }));
    const wait = held > 0 ? t('{n} waiting', { n: held.toLocaleString(locale) }) : '';
    if (wait) parts.push(wait);
    counts.textContent = parts.join(', ');
    byId('waiting').textContent = wait && ` (${wait})`;
  },
  onfollow: (isFollowing) => press(follow, isFollowing),
});

const badge = new ConnectionBadge(byId('state'));
const { url, refused } = streamAddress(streams.tail);
byId('source').textContent = shortAddress(url);
streamField.value = shortAddress(url);
eventsField.value = new URLSearchParams(location.search).get('events') ?? '';
if (refused !== null) showProblem(t('“{refused}” is no address of a stream; this is the usual one.', { refused }));

// A signed link that opens the page opens its streams, and those of the menu.
for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll('nav a[href*="stream="]'))) {
  link.href = withLink(new URL(link.href)).href;
}
for (const [name, value] of linkFields) {
  const field = Object.assign(document.createElement('input'), { type: 'hidden', name, value });
  byId('point').append(field);
}

connect(withLink(url), {
  events: ['invalid', ...eventsField.value.split(',').map((name) => name.trim()).filter(Boolean)],
  onevent: ({ type, data }) => view.add(data, type === 'message' ? '' : type),
  onstate: badge.show,
  onunavailable: (reason) => view.remark(t('Unavailable: {reason}', { reason: t(reason) }), 'note'),
  onclose: () => view.remark(t('The stream is over'), 'note'),
  ongap(gap) {
    // Whoever has seen nothing yet misses nothing.
    if (gap.reason !== 'late' || !view.isEmpty) view.remark(gapWords(gap), 'gap');
  },
});

/**
 * @param {HTMLElement} button
 * @param {boolean} isPressed
 */
function press(button, isPressed) {
  button.setAttribute('aria-pressed', String(isPressed));
}

follow.addEventListener('click', () => {
  const isFollowing = follow.getAttribute('aria-pressed') !== 'true';
  press(follow, isFollowing);
  view.follow(isFollowing);
});

pause.addEventListener('click', () => {
  isPaused = !isPaused;
  byId('pause-word').textContent = t(isPaused ? 'Go on' : 'Pause');
  view.pause(isPaused);
});

byId('clear').addEventListener('click', () => view.clear());
limit.addEventListener('change', () => view.limit(Number(limit.value)));

filter.addEventListener('input', () => {
  const test = parseFilter(filter.value);
  filter.setAttribute('aria-invalid', String(test === null));
  if (test) view.filter(test);
});

byId('point').addEventListener('submit', (event) => {
  if (parseStreamAddress(streamField.value)) return;
  event.preventDefault();
  showProblem(t('A path on this server, or an http or https address, please.'));
  streamField.focus();
});
