import { streams } from './config.js';
import { ConnectionBadge } from './connection-badge.js';
import { gapWords } from './gap-words.js';
import { byId, showProblem } from './page.js';
import { SendError, connect, send } from './sse.js';
import { shortAddress, streamAddress } from './stream-address.js';
import { t } from './words.js';

/** So many rows are kept on the page. */
const LIMIT = 1000;

/** An answer of which nothing comes for so long is given up: its program may be gone. */
const SILENCE_MS = 60_000;

const { url, refused } = streamAddress(streams.answer);
byId('source').textContent = shortAddress(url);
if (refused !== null) showProblem(t('“{refused}” is no address of a stream; this is the usual one.', { refused }));

const text = /** @type {HTMLInputElement} */ (byId('text'));
const button = /** @type {HTMLButtonElement} */ (byId('send'));
const talk = byId('talk');
const badge = new ConnectionBadge(byId('state'));

/** What a post names; '' before the first welcome. */
let session = '';
/** The row that grows. @type {HTMLElement | null} */
let answer = null;
/** A message is under way, or its answer: pieces do not say whose they are. */
let isBusy = false;
let silence = 0;

connect(url, {
  // A session is one tab's.
  shared: false,
  events: ['welcome', 'answer', 'done'],
  onevent({ type, data }) {
    if (type === 'welcome') return welcome(data);
    if (type === 'answer') return piece(data);
    if (type === 'done') return done(data);
    // Our message: it comes down to its session, before its answer.
    endAnswer();
    add(row('own', data));
    listen();
  },
  onstate: badge.show,
  ongap(gap) {
    endAnswer();
    add(row('gap', gapWords(gap)));
  },
});

for (const button of byId('suggestions').querySelectorAll('button')) {
  button.addEventListener('click', () => {
    text.value = button.textContent ?? '';
    text.focus();
  });
}

byId('ask').addEventListener('submit', async (event) => {
  event.preventDefault();
  const words = text.value;
  if (words.trim() === '' || session === '' || isBusy) return;
  text.value = '';
  listen();
  try {
    await send(url, { data: words }, { headers: { 'X-Session-ID': session } });
    showProblem('');
  } catch (error) {
    if (!(error instanceof SendError)) throw error;
    const doubt = error.mayBePublished ? '“{words}” was perhaps not sent: {error}' : '“{words}” was not sent: {error}';
    showProblem(t(doubt, { words, error: error.message }));
    // To be sent again by whoever typed it.
    if (text.value === '') text.value = words;
    if (!error.mayBePublished) endAnswer();
  }
});

/** @param {string} data */
function welcome(data) {
  ({ session } = JSON.parse(data));
  endAnswer();
}

/** @param {string} words a piece; an empty one ends a line */
function piece(words) {
  const isAtEnd = atEnd();
  if (!answer) {
    answer = row('said', '');
    answer.setAttribute('aria-busy', 'true');
    add(answer);
  }
  answer.append(words === '' ? '\n' : words);
  if (isAtEnd) talk.scrollTop = talk.scrollHeight;
  listen();
}

/** @param {string} code how the program ended */
function done(code) {
  endAnswer();
  if (code !== '0') add(row('note', t('The answer has ended early ({code})', { code })));
}

/** Waits for the next piece, for a while. */
function listen() {
  clearTimeout(silence);
  silence = setTimeout(endAnswer, SILENCE_MS);
  setBusy(true);
}

function endAnswer() {
  clearTimeout(silence);
  answer?.removeAttribute('aria-busy');
  answer = null;
  setBusy(false);
}

/** @param {boolean} is */
function setBusy(is) {
  isBusy = is;
  button.disabled = is || session === '';
}

/**
 * @param {string} kind
 * @param {string} words
 */
function row(kind, words) {
  const item = document.createElement('li');
  item.className = kind;
  item.append(words);
  return item;
}

/** @param {HTMLElement} item */
function add(item) {
  const isAtEnd = atEnd();
  talk.append(item);
  while (talk.children.length > LIMIT) talk.firstElementChild?.remove();
  if (isAtEnd) talk.scrollTop = talk.scrollHeight;
}

function atEnd() {
  return talk.scrollHeight - talk.scrollTop - talk.clientHeight < 8;
}
