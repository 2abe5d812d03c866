#!/usr/bin/env node
/**
 * A chat on the command line, over a stream and a POST address; no dependencies.
 *
 *     node examples/chat-cli.mjs [--nick NAME] [--token-file FILE] STREAM [PUBLISH]
 *
 * It prints what comes down STREAM and posts each line that is typed to PUBLISH. A room
 * (SSE_STREAM=room) has one address for both, so PUBLISH is STREAM unless told; for a file
 * of messages, name nph-tail.cgi and publish.cgi.
 *
 *     node examples/chat-cli.mjs --nick Ann http://localhost:8080/cgi-bin/room.cgi
 *
 * /nick NAME changes the name, /quit, Ctrl-D and Ctrl-C leave. With a terminal there are a
 * prompt and colours (not with NO_COLOR, see no-color.org); otherwise lines go in and out:
 *
 *     echo 'the build is done' | node examples/chat-cli.mjs --nick CI STREAM PUBLISH
 *
 * exit: 0 left, or the stream is over; 1 a line could not be posted, where nobody sees it
 * (no terminal); 22 the server refused the stream; 100 wrong usage
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { events } from './fetch-reader.mjs';

const USAGE = 'usage: chat-cli.mjs [--nick NAME] [--token-file FILE] STREAM [PUBLISH]';

/** What is still to be posted when somebody leaves gets this long. */
const LEAVE_MS = 5000;
const POST_MS = 30_000;

const { nick: firstNick, stream, publish, token } = options();
const onTerminal = Boolean(process.stdin.isTTY && process.stdout.isTTY);
const inColor = Boolean(process.stdout.isTTY) && !process.env.NO_COLOR && process.env.TERM !== 'dumb';

let nick = firstNick;
/** One address for both ways: nothing can be posted before its welcome tells our session. */
const isRoom = publish.href === stream.href;
let session = '';
let welcome;
const welcomed = new Promise((resolve) => (welcome = resolve));
let left = false;
let failures = 0;
/** Ids of what we posted; at most so many are of use. */
const own = new Set();
const OWN_MAX = 1000;
/** Posts are made one after another, so that they come down as they were typed. */
let posting = Promise.resolve();

const leave = new AbortController();
const terminal = createInterface({
  input: process.stdin,
  output: onTerminal ? process.stdout : undefined,
  terminal: onTerminal,
  prompt: paint('1', '> '),
});
terminal.on('line', (line) => {
  if (line === '/quit') return end();
  const renamed = /^\/nick\s+(\S.*)$/.exec(line);
  if (renamed) nick = renamed[1].trim();
  else if (line.trim() !== '') {
    const typedBy = nick;
    posting = posting.then(() => post(typedBy, line));
  }
  if (onTerminal) terminal.prompt();
});
terminal.on('close', end);
terminal.on('SIGINT', end);
process.on('SIGINT', end);
process.on('SIGTERM', end);
// Stdout has been closed.
process.stdout.on('error', () => process.exit(0));
if (onTerminal) terminal.prompt();

try {
  stream.searchParams.set('nick', nick);
  for await (const event of events(stream, { signal: leave.signal })) await show(event);
  if (!left) say(paint('2', 'the stream is over'));
} catch (error) {
  if (!left) {
    say(paint('31', plain(error.message)), process.stderr);
    process.exitCode = 22;
  }
}
end();

/** Leaves: what was typed is posted still, the prompt goes, and the terminal is as before. */
async function end() {
  if (left) return;
  left = true;
  terminal.close();
  if (onTerminal) process.stdout.write('\r\x1b[K');
  let timer;
  const late = new Promise((resolve) => (timer = setTimeout(resolve, LEAVE_MS)));
  await Promise.race([posting, late]);
  clearTimeout(timer);
  leave.abort();
  process.exit(process.exitCode ?? (failures && !onTerminal ? 1 : 0));
}

async function post(nick, text) {
  try {
    if (isRoom) await welcomed;
    // A room adds the name to the text; a file of messages contains only what is written to
    // it.
    const message = session ? { nick, data: text } : { data: { nick, data: text } };
    const response = await fetch(publish, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
        // What a page of that site would say, which SSE_PUBLISH_ALLOW=same-origin asks for.
        Origin: new URL(publish).origin,
        ...(session ? { 'X-Session-ID': session } : {}),
        ...(token ? { Authorization: `Bearer ${token}` } : {}),
      },
      body: JSON.stringify(message),
      redirect: 'error',
      signal: AbortSignal.timeout(POST_MS),
    });
    const { id, error } = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(error ?? `HTTP ${response.status}`);
    if (id) own.add(id);
    if (own.size > OWN_MAX) own.delete(own.values().next().value);
  } catch (error) {
    failures += 1;
    const why = error.cause?.message ?? error.message;
    say(paint('31', `not sent (${plain(why)}): ${plain(text)}`), process.stderr);
  }
}

/** @param {{event: string, data: string, id: string}} event */
async function show({ event, data, id }) {
  // The event of our own message may arrive before the response with its id.
  if (event !== 'welcome' && !own.has(id)) await Promise.race([posting, new Promise((resolve) => setTimeout(resolve, 1000).unref())]);
  if (own.delete(id)) {
    // A terminal already shows what was typed in it.
    if (onTerminal) return;
  }
  const value = parse(data);
  const who = typeof value?.nick === 'string' ? plain(value.nick) : '';
  if (event === 'welcome' && typeof value?.session === 'string') {
    session = value.session;
    welcome();
    if (who) nick = who;
    const names = Array.isArray(value.members) ? value.members.map((member) => plain(member?.nick ?? member)) : [];
    say(paint('2', `welcome${who && `, ${who}`}${names.length ? `; here: ${names.join(', ')}` : ''}`));
  } else if (event === 'join' || event === 'leave') {
    say(paint('2', `${who || 'somebody'} ${event === 'join' ? 'is here' : 'has left'}`));
  } else if (event === 'gap') {
    say(paint('33', `something is missing here (${plain(value?.reason ?? 'unknown')})`));
  } else if (event !== 'close') {
    const text = value?.data ?? value?.text ?? value ?? data;
    const words = plain(typeof text === 'string' ? text : JSON.stringify(text));
    const name = event === 'message' ? '' : paint('2', `[${plain(event)}] `);
    say(`${name}${who && `${paint(colorOf(who), who)}: `}${words.replaceAll('\n', '\n  ')}`);
  }
}

/** A line above the prompt and what is typed in it. */
function say(line, out = process.stdout) {
  if (!onTerminal) return void out.write(`${line}\n`);
  process.stdout.write(`\r\x1b[K${line}\n`);
  if (!left) terminal.prompt(true);
}

/** Text of others: its control characters would be commands to the terminal. */
function plain(text) {
  return String(text)
    .replace(/\r\n?/g, '\n')
    .replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');
}

function paint(code, text) {
  return inColor ? `\x1b[${code}m${text}\x1b[0m` : text;
}

/** The same name has the same colour everywhere. */
function colorOf(name) {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) >>> 0;
  return ['32', '33', '34', '35', '36', '91'][sum % 6];
}

function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    return undefined;
  }
}

function options() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { nick: { type: 'string' }, 'token-file': { type: 'string' }, help: { type: 'boolean', short: 'h' } },
    });
    if (values.help) {
      console.log(USAGE);
      process.exit(0);
    }
    const [stream, publish = stream, ...more] = positionals;
    if (!stream || more.length) throw new Error('want one or two addresses');
    const address = (text) => {
      // `localhost:8080/x` is a URL too, of the scheme `localhost:`.
      if (!/^https?:\/\/[^/]/i.test(text)) throw new Error(`${text}: not a URL of http or https`);
      return new URL(text);
    };
    const file = values['token-file'];
    return {
      nick: values.nick ?? process.env.USER ?? 'guest',
      stream: address(stream),
      publish: address(publish),
      token: file ? readFileSync(file, 'utf8').trim() : '',
    };
  } catch (error) {
    console.error(`chat-cli: ${error.message}\n${USAGE}`);
    process.exit(100);
  }
}
