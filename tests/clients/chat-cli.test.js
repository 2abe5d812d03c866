import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { until } from '../browser/until.js';
import { startHarness } from '../harness.js';

const program = fileURLToPath(new URL('../../examples/chat-cli.mjs', import.meta.url));

/** Each test has a file of its own. */
const NAMES = ['two', 'own', 'terminal', 'plain', 'pipe', 'hostile'];
const streams = (folder) => ({
  room: {
    program: 'room',
    settings: {
      SSE_FILE: join(folder, 'room.jsonl'),
      SSE_SPOOL: join(folder, 'spool'),
      // As in README and in the demo.
      SSE_PUBLISH_ALLOW: 'same-origin',
    },
  },
  ...Object.fromEntries(
    NAMES.flatMap((name) => {
      const file = join(folder, `${name}.jsonl`);
      writeFileSync(file, '');
      const settings = { SSE_FILE: file };
      return [
        [`down-${name}`, { program: 'tail', settings }],
        [`up-${name}`, { program: 'publish', settings: { ...settings, SSE_PUBLISH_ALLOW: 'anyone' } }],
      ];
    }),
  ),
});

describe('chat-cli', () => {
  let harness;
  before(async () => (harness = await startHarness(streams)));
  after(() => harness?.end());

  const url = (name) => new URL(`/cgi-bin/${name}.cgi`, harness.base).href;
  const addresses = (name) => [url(`down-${name}`), url(`up-${name}`)];
  const file = (name) => join(harness.folder, `${name}.jsonl`);
  const append = (name, record) => appendFileSync(file(name), `${JSON.stringify(record)}\n`);
  const records = (name) =>
    readFileSync(file(name), 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line));

  /** Starts a command, whose output is collected; it is ended with the test. */
  function start(t, command, args, env = {}) {
    const child = spawn(command, args, { env: { PATH: process.env.PATH, ...env } });
    const chat = { out: '', errors: '', child };
    child.stdout.on('data', (bytes) => (chat.out += bytes));
    child.stderr.on('data', (bytes) => (chat.errors += bytes));
    child.stdin.on('error', () => {});
    chat.exited = once(child, 'exit');
    chat.says = (text) => until(`${text} in ${JSON.stringify(chat)}`, () => chat.out.includes(text));
    t.after(async () => {
      child.kill('SIGKILL');
      await chat.exited;
    });
    return chat;
  }

  const piped = (t, nick, ...args) => start(t, process.execPath, [program, '--nick', nick, ...args]);

  /** script(1) gives it a terminal. */
  function onTerminal(t, nick, name, env) {
    const words = [process.execPath, program, '--nick', nick, ...addresses(name)];
    const command = words.map((word) => `'${word}'`).join(' ');
    return start(t, 'script', ['-qfec', command, '/dev/null'], { TERM: 'xterm', ...env });
  }

  test('what one types, both see, in one order', async (t) => {
    const [ann, bob] = ['Ann', 'Bob'].map((nick) => piped(t, nick, ...addresses('two')));
    ann.child.stdin.write('hello, žluť\n');
    await Promise.all([ann, bob].map((chat) => chat.says('Ann: hello, žluť\n')));
    bob.child.stdin.write('one\n/nick Rob\ntwo\n');
    const all = 'Ann: hello, žluť\nBob: one\nRob: two\n';
    for (const chat of [ann, bob]) {
      await chat.says('Rob: two\n');
      assert.equal(chat.out, all);
    }
    ann.child.stdin.write('/quit\n');
    bob.child.kill('SIGTERM');
    for (const chat of [ann, bob]) {
      assert.deepEqual(await chat.exited, [0, null]);
      assert.equal(chat.errors, '');
    }
  });

  test('on a terminal there are a prompt and colours, and what was typed is shown once', async (t) => {
    const chat = onTerminal(t, 'Ann', 'terminal');
    await chat.says('> ');
    chat.child.stdin.write('my own\r');
    await until('it is posted', () => records('terminal').length === 1);
    append('terminal', { data: { nick: 'Bob', data: 'hi' } });
    await chat.says('Bob\x1b[0m: hi');
    assert.match(chat.out, /\x1b\[\d+mBob\x1b\[0m: hi/);
    assert.doesNotMatch(chat.out, /Ann\x1b\[0m: my own/);
    chat.child.stdin.write('half a line\x03');
    assert.deepEqual(await chat.exited, [0, null]);
    assert.equal(records('terminal').length, 2);
    assert.doesNotMatch(chat.out, /Error|\n\s+at /);
  });

  test('NO_COLOR has none', async (t) => {
    const chat = onTerminal(t, 'Ann', 'plain', { NO_COLOR: '1' });
    append('plain', { data: { nick: 'Bob', data: 'hi' } });
    await chat.says('Bob: hi');
    assert.doesNotMatch(chat.out, /\x1b\[[\d;]*m/);
    // Ctrl-D.
    chat.child.stdin.write('\x04');
    assert.deepEqual(await chat.exited, [0, null]);
  });

  test('in a room it speaks in its session, and not before it has one', async (t) => {
    const posts = [];
    let asked, enter;
    const hasAsked = new Promise((resolve) => (asked = resolve));
    const entered = new Promise((resolve) => (enter = resolve));
    const room = createServer(async (request, response) => {
      if (request.method === 'GET') {
        response.writeHead(200, { 'Content-Type': 'text/event-stream' }).flushHeaders();
        asked();
        await entered;
        const welcome = { session: 'f00', nick: 'Ann', members: [{ tag: '1', nick: 'Bob' }] };
        response.write(`event: welcome\ndata: ${JSON.stringify(welcome)}\n\n`);
        response.write('event: join\ndata: {"tag":"2","nick":"Eve"}\n\n');
        response.write('data: {"tag":"2","nick":"Eve","data":"hi"}\n\nevent: leave\ndata: {"nick":"Eve"}\n\n');
        return;
      }
      let body = '';
      for await (const part of request) body += part;
      posts.push([request.headers['x-session-id'], JSON.parse(body)]);
      response.writeHead(201).end('{"id":"f00.1"}');
    });
    t.after(() => {
      room.closeAllConnections();
      room.close();
    });
    await once(room.listen(0, '127.0.0.1'), 'listening');
    const chat = piped(t, 'Ann', `http://127.0.0.1:${room.address().port}/room`);
    await hasAsked;
    chat.child.stdin.write('hello\n');
    enter();
    await chat.says('Eve has left\n');
    assert.equal(chat.out, 'welcome, Ann; here: Bob\nEve is here\nEve: hi\nEve has left\n');
    await until('it is posted', () => posts.length === 1);
    assert.deepEqual(posts, [['f00', { nick: 'Ann', data: 'hello' }]]);
  });

  test('two talk in a real room, and see who comes', async (t) => {
    const ann = piped(t, 'Ann', url('nph-room'));
    await ann.says('welcome, Ann');
    const bob = piped(t, 'Bob', url('nph-room'));
    await bob.says('welcome, Bob; here: ');
    await ann.says('Bob is here\n');
    ann.child.stdin.write('hello, žluť\n');
    await bob.says('Ann: hello, žluť\n');
    bob.child.stdin.write('one\ntwo\n');
    await ann.says('Bob: one\nBob: two\n');
    assert.doesNotMatch(ann.out, /Ann: /);
    for (const chat of [ann, bob]) {
      chat.child.stdin.end();
      assert.deepEqual(await chat.exited, [0, null]);
      assert.equal(chat.errors, '');
    }
  });

  test('what is piped into it is all posted before it leaves', async (t) => {
    const chat = piped(t, 'CI', ...addresses('pipe'));
    // It has five seconds for them after the end of its input.
    const lines = Array.from({ length: 3 }, (_, n) => `line ${n}`);
    chat.child.stdin.end(lines.join('\n'));
    assert.deepEqual(await chat.exited, [0, null]);
    assert.deepEqual(records('pipe').map(({ data }) => data), lines.map((data) => ({ nick: 'CI', data })));
  });

  test('what others send cannot command the terminal', async (t) => {
    const chat = piped(t, 'Ann', ...addresses('hostile'));
    append('hostile', { event: 'x\x1b[2J', data: { nick: '\x1b]0;x\x07', data: 'a\u202eb\rc\x9bm' } });
    append('hostile', { data: null });
    append('hostile', { data: [1, '\x1b'] });
    append('hostile', { data: { nick: 'End' } });
    await chat.says('End: ');
    assert.doesNotMatch(chat.out, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
    assert.match(chat.out, /a\ufffdb\n {2}c\ufffdm\n/);
  });

  test('a wrong address and a refusal are told', async (t) => {
    const wrong = piped(t, 'Ann', 'localhost:8080/x');
    assert.deepEqual(await wrong.exited, [100, null]);
    assert.match(wrong.errors, /^chat-cli: localhost:8080\/x: not a URL of http or https\nusage: /);
    const missing = piped(t, 'Ann', url('missing'));
    assert.deepEqual(await missing.exited, [22, null]);
    assert.match(missing.errors, /: HTTP 404\n$/);
    const unposted = piped(t, 'Ann', url('down-own'), url('missing'));
    unposted.child.stdin.end('lost\n');
    assert.deepEqual(await unposted.exited, [1, null]);
    assert.equal(unposted.errors, 'not sent (HTTP 404): lost\n');
  });
});
