import { streams } from './config.js';
import { ConnectionBadge } from './connection-badge.js';
import { CountdownDial } from './countdown-dial.js';
import { byId, showProblem } from './page.js';
import { connect } from './sse.js';
import { shortAddress, streamAddress } from './stream-address.js';
import { t } from './words.js';

const { url, refused } = streamAddress(streams.countdown);
byId('source').textContent = shortAddress(url);
if (refused !== null) showProblem(t('“{refused}” is no address of a stream; this is the usual one.', { refused }));

const badge = new ConnectionBadge(byId('state'));
const dial = new CountdownDial(document.querySelector('.dial'));
const again = byId('again');

function start() {
  again.hidden = true;
  dial.clear();
  connect(url, {
    onevent: ({ data }) => dial.show(data),
    onstate: badge.show,
    onclose() {
      dial.finish();
      again.hidden = false;
    },
  });
}

again.addEventListener('click', start);
start();
