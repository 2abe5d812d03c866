import { ClockFace } from './clock-face.js';
import { streams } from './config.js';
import { ConnectionBadge } from './connection-badge.js';
import { byId, showProblem } from './page.js';
import { connect } from './sse.js';
import { shortAddress, streamAddress } from './stream-address.js';
import { t } from './words.js';

const { url, refused } = streamAddress(streams.clock);
byId('source').textContent = shortAddress(url);
if (refused !== null) showProblem(t('“{refused}” is no address of a stream; this is the usual one.', { refused }));

const badge = new ConnectionBadge(byId('state'));
const face = new ClockFace(byId('clock'));
byId('own-zone').textContent = ownZone();

// A tab that joins late needs no old ticks.
connect(url, { onevent: ({ data }) => face.show(data), onstate: badge.show, keep: 1 });

function ownZone() {
  const minutes = -new Date().getTimezoneOffset();
  const two = (/** @type {number} */ n) => String(Math.trunc(n)).padStart(2, '0');
  const offset = `UTC${minutes < 0 ? '-' : '+'}${two(Math.abs(minutes) / 60)}:${two(Math.abs(minutes) % 60)}`;
  return `${offset} (${Intl.DateTimeFormat().resolvedOptions().timeZone})`;
}
