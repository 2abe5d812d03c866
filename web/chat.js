import { ChatRoom, ROOM_EVENTS } from './chat-room.js';
import { streams } from './config.js';
import { ConnectionBadge } from './connection-badge.js';
import { gapWords } from './gap-words.js';
import { byId, showProblem } from './page.js';
import { SendError, connect, send } from './sse.js';
import { shortAddress, streamAddress } from './stream-address.js';
import { t } from './words.js';

/** So many lines are kept on the page. */
const LIMIT = 1000;

const { url, refused } = streamAddress(streams.room);
byId('source').textContent = shortAddress(url);
if (refused !== null) showProblem(t('“{refused}” is no address of a stream; this is the usual one.', { refused }));

const nick = /** @type {HTMLInputElement} */ (byId('nick'));
const text = /** @type {HTMLInputElement} */ (byId('text'));
const chat = byId('chat');

const room = new ChatRoom({
  onsaid({ place, nick, text, own }, before) {
    const row = line(own ? 'own' : 'said', text);
    row.dataset.place = place;
    if (nick) {
      const who = document.createElement('b');
      who.textContent = nick;
      row.prepend(who, ' ');
    }
    const next = before && [...chat.children].find((other) => /** @type {HTMLElement} */ (other).dataset.place === before);
    add(row, next || null);
  },
  onnote: (words) => add(line('note', words), null),
  onmembers(members, count) {
    byId('count').textContent = String(count);
    byId('members').replaceChildren(
      ...members.map(({ tag, nick }) => {
        const item = document.createElement('li');
        item.textContent = nick;
        if (tag === room.me?.tag) item.className = 'me';
        return item;
      }),
    );
  },
});

nick.value = remembered() ?? '';

byId('enter').addEventListener('submit', (event) => {
  event.preventDefault();
  remember(nick.value);
  byId('enter').hidden = true;
  byId('room').hidden = false;
  text.focus();
  const address = new URL(url);
  address.searchParams.set('nick', nick.value);
  connect(address, {
    // A tab is a member of its own, and tabs that share a stream would be one.
    shared: false,
    events: ROOM_EVENTS,
    onevent: room.take,
    onstate: new ConnectionBadge(byId('state')).show,
    ongap: (gap) => add(line('gap', gapWords(gap)), null),
  });
});

/** What was typed is posted in its order. */
let posting = Promise.resolve();

byId('say').addEventListener('submit', (event) => {
  event.preventDefault();
  const words = text.value;
  if (words.trim() === '' || room.session === '') return;
  text.value = '';
  posting = posting.then(() => post(words));
});

/** @param {string} words */
async function post(words) {
  const after = room.lastPlace;
  try {
    const id = await send(url, { data: words }, { headers: { 'X-Session-ID': room.session } });
    room.said(id, words, after);
    showProblem('');
  } catch (error) {
    if (!(error instanceof SendError)) throw error;
    const doubt = error.mayBePublished ? '“{words}” was perhaps not sent: {error}' : '“{words}” was not sent: {error}';
    showProblem(t(doubt, { words, error: error.message }));
    // To be sent again by whoever typed it.
    if (text.value === '') text.value = words;
  }
}

/**
 * @param {string} kind
 * @param {string} words
 */
function line(kind, words) {
  const row = document.createElement('li');
  row.className = kind;
  row.append(words);
  return row;
}

/**
 * @param {HTMLElement} row
 * @param {Element | null} before null: at the end
 */
function add(row, before) {
  const isAtEnd = chat.scrollHeight - chat.scrollTop - chat.clientHeight < 8;
  chat.insertBefore(row, before);
  while (chat.children.length > LIMIT) chat.firstElementChild?.remove();
  if (isAtEnd) chat.scrollTop = chat.scrollHeight;
}

function remembered() {
  try {
    return localStorage.getItem('nick');
  } catch {
    return null;
  }
}

/** @param {string} name */
function remember(name) {
  try {
    localStorage.setItem('nick', name);
  } catch {
    // The browser keeps nothing for us; then it is typed again.
  }
}
