import { streams } from './config.js';
import { ConnectionBadge } from './connection-badge.js';
import { FLIGHT_EVENTS, FlightBoard } from './flight-board.js';
import { byId, showProblem } from './page.js';
import { connect } from './sse.js';
import { shortAddress, streamAddress } from './stream-address.js';
import { t } from './words.js';

const { url, refused } = streamAddress(streams.flights);
byId('source').textContent = shortAddress(url);
if (refused !== null) showProblem(t('“{refused}” is no address of a stream; this is the usual one.', { refused }));

const badge = new ConnectionBadge(byId('state'));
const change = byId('change');
const board = new FlightBoard(
  /** @type {HTMLTableSectionElement} */ (byId('flights')),
  (words) => (change.textContent = words),
);
const stop = byId('stop');
const again = byId('again');
let stream = open('');

/** @param {string} lastEventId '' to see it from the start */
function open(lastEventId) {
  stop.textContent = t('Stop updates');
  stop.hidden = false;
  again.hidden = true;
  return connect(url, {
    events: FLIGHT_EVENTS,
    lastEventId,
    onevent: board.handle,
    onstate: badge.show,
    ongap: () => (change.textContent = t('some changes were lost')),
    onclose() {
      stop.hidden = true;
      again.hidden = false;
    },
  });
}

stop.addEventListener('click', () => {
  if (stream.state.name === 'closed') {
    stream = open(stream.lastEventId);
  } else {
    stream.close();
    stop.textContent = t('Resume updates');
  }
});

again.addEventListener('click', () => {
  board.clear();
  stream = open('');
  stop.focus();
});
