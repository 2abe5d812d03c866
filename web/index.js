import { ClockFace } from './clock-face.js';
import { streams } from './config.js';
import { ConnectionBadge } from './connection-badge.js';
import { CountdownDial } from './countdown-dial.js';
import { FLIGHT_EVENTS, FlightBoard } from './flight-board.js';
import { gapWords } from './gap-words.js';
import { showGateways } from './gateway-choice.js';
import { LogView } from './log-view.js';
import { byId } from './page.js';
import { connect } from './sse.js';
import { TimerList } from './timer-list.js';
import { locale, t } from './words.js';

showGateways(byId('gateways'));

// The options are those of the pages with one stream each, so that a tab of
// theirs and a tab of this one share a connection.

const face = new ClockFace(byId('clock'));
connect(streams.clock, {
  onevent: ({ data }) => face.show(data),
  onstate: new ConnectionBadge(byId('clock-state')).show,
  keep: 1,
});

const timers = new TimerList(byId('timers'), [
  { type: 'message', label: 'unnamed', everyS: 3 },
  { type: 'fiveSeconds', label: 'fiveSeconds', everyS: 5 },
]);
connect(streams.timers, {
  events: ['fiveSeconds'],
  onevent: ({ type }) => timers.ring(type),
  onstate: new ConnectionBadge(byId('timers-state')).show,
});

const log = new LogView(byId('log'), {
  limit: 200,
  oncount: ({ received }) => {
    byId('log-count').textContent = t(received === 1 ? '{n} line' : '{n} lines', { n: received.toLocaleString(locale) });
  },
});
connect(streams.tail, {
  events: ['invalid'],
  onevent: ({ type, data }) => log.add(data, type === 'message' ? '' : type),
  onstate: new ConnectionBadge(byId('log-state')).show,
  ongap(gap) {
    if (gap.reason !== 'late' || !log.isEmpty) log.remark(gapWords(gap), 'gap');
  },
});

const dial = new CountdownDial(document.querySelector('.dial'));
const dialBadge = new ConnectionBadge(byId('countdown-state'));
repeatable(byId('countdown-again'), (onclose) => {
  dial.clear();
  connect(streams.countdown, {
    onevent: ({ data }) => dial.show(data),
    onstate: dialBadge.show,
    onclose() {
      dial.finish();
      onclose();
    },
  });
});

const board = new FlightBoard(/** @type {HTMLTableSectionElement} */ (byId('flights')));
const boardBadge = new ConnectionBadge(byId('flights-state'));
repeatable(byId('flights-again'), (onclose) => {
  board.clear();
  connect(streams.flights, {
    events: FLIGHT_EVENTS,
    onevent: board.handle,
    onstate: boardBadge.show,
    onclose,
  });
});

/**
 * A stream that ends can be started again by its button.
 *
 * @param {HTMLElement} button
 * @param {(onclose: () => void) => void} start
 */
function repeatable(button, start) {
  const run = () => {
    button.hidden = true;
    start(() => (button.hidden = false));
  };
  button.addEventListener('click', run);
  run();
}
