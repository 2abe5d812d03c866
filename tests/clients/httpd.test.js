/** The clients of clients.test.js, and others, directly at sse-httpd: no web server. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch } from '../browser/chromium.js';
import { until } from '../browser/until.js';
import { allReaders, othersInUse } from './readers.js';

const project = fileURLToPath(new URL('../..', import.meta.url));
const programs = resolve(process.env.SSE_TEST_PROGRAMS ?? join(project, 'target/debug'));

let browser;
let folder;
before(async () => {
  browser = await launch();
  folder = mkdtempSync(join(tmpdir(), 'sse-httpd-js-'));
});
after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true });
});

const path = (name) => join(folder, name);

/** Starts one with these arguments, at this address. */
async function start(args, listen = '127.0.0.1:0', settings = {}) {
  const child = spawn(join(programs, 'sse-httpd'), ['--allow-root', '--listen', listen, ...args], {
    cwd: folder,
    env: { PATH: '/usr/bin:/bin', SSE_RETRY: '1s', ...settings },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  let base;
  for await (const line of createInterface({ input: child.stdout })) {
    base = line;
    break;
  }
  assert.ok(base, 'sse-httpd did not start (is it built?)');
  return {
    base,
    async end() {
      process.off('exit', kill);
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** Collects the lines that a program prints. */
function collectLines(program, args) {
  const seen = [];
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  createInterface({ input: child.stdout }).on('line', (line) => seen.push(line));
  return {
    events: () => seen,
    async end() {
      child.kill();
      await ended;
    },
  };
}

describe('sse-httpd without a web server', () => {
  test('its page passes on the link that it was opened with', async (t) => {
    writeFileSync(path('keys'), `${'0123456789abcdef'.repeat(4)}\n`, { mode: 0o600 });
    for (const name of ['one.log', 'two.log']) writeFileSync(path(name), `of ${name}\n`);
    const server = await start(['one.log', 'two.log'], undefined, { SSE_KEYS: path('keys') });
    t.after(() => server.end());
    const e = Math.floor(Date.now() / 1000) + 600;
    const key = '0123456789abcdef'.repeat(4);
    const tag = createHmac('sha256', key).update(`sse1\n${e}\n/events`).digest('hex');
    const page = await browser.newPage();
    t.after(() => page.close());
    await page.goto(`${server.base}?e=${e}&p=/events&t=${tag}`);
    const shows = (text) => until(text, async () => (await page.textContent('#log')).includes(text));
    await shows('of one.log');
    assert.ok(!(await page.textContent('body')).includes(tag));
    await page.getByRole('link', { name: 'two.log' }).click();
    await shows('of two.log');
    await page.goto(server.base);
    await until('that it has no access', () =>
      page.evaluate(() => document.querySelector('#state').textContent.includes('403')));
  });

  test('all read the same, and a restart loses nothing', async (t) => {
    writeFileSync(path('lines.log'), '');
    let server = await start(['lines.log']);
    const opened = {};
    t.after(async () => {
      await Promise.all(Object.values(opened).map((reader) => reader.end()));
      await server.end();
    });
    const url = `${server.base}events/lines.log`;
    const open = async ([name, reader]) => (opened[name] = await reader(url, { names: [] }));
    await Promise.all(Object.entries(allReaders(browser)).map(open));

    const lines = ['one', '', '  three before', 'žluť\u2028oučký 🛬'];
    const all = [];
    const write = async () => {
      appendFileSync(path('lines.log'), lines.map((line) => `${line}\n`).join(''));
      all.push(...lines);
      for (const [name, reader] of Object.entries(opened)) {
        await until(`${name}: ${all.length} events`, async () => (await reader.events()).length >= all.length);
        const seen = await reader.events();
        // A polyfill removes white space, and has null for an event without data.
        assert.deepEqual(
          seen.map(([, data]) => (data ?? '').trim()),
          all.map((line) => line.trim()),
          name,
        );
      }
    };
    await write();
    await server.end();
    server = await start(['lines.log'], new URL(url).host);
    await write();
  });

  test('programs that read lines get each event when it is written', async (t) => {
    writeFileSync(path('others.log'), 'first\n');
    const server = await start(['others.log']);
    const go = spawnSync('go', ['build', '-o', path('read'), fileURLToPath(new URL('read.go', import.meta.url))], {
      env: { PATH: process.env.PATH, HOME: folder, GOCACHE: path('go-cache'), GOFLAGS: '-mod=mod' },
      encoding: 'utf8',
    });
    assert.equal(go.status, 0, go.stderr);
    const url = `${server.base}events/others.log`;
    const readers = {
      curl: collectLines('curl', ['-sN', url]),
      'Go, net/http': collectLines(path('read'), [url]),
      ...Object.fromEntries(Object.entries(othersInUse).map(([name, reader]) => [name, reader(url)])),
    };
    t.after(async () => {
      await Promise.all(Object.values(readers).map((reader) => reader.end()));
      await server.end();
    });
    const has = (text) => async (reader) => JSON.stringify(await reader.events()).includes(text);
    for (const word of ['first', 'second', 'third']) {
      if (word !== 'first') appendFileSync(path('others.log'), `${word}\n`);
      for (const [name, reader] of Object.entries(readers)) {
        await until(`${name}: ${word}`, () => has(word)(reader));
      }
    }
  });

  test('its own page shows several files as they grow', async (t) => {
    for (const name of ['a.log', 'b.log']) writeFileSync(path(name), `${name} from before\n`);
    const server = await start(['a.log', 'b.log']);
    const context = await browser.newContext();
    t.after(async () => {
      await context.close();
      await server.end();
    });
    for (const name of ['a.log', 'b.log']) {
      const page = await context.newPage();
      const problems = [];
      page.on('pageerror', (error) => problems.push(String(error)));
      await page.goto(server.base);
      await page.getByRole('link', { name }).click();
      const shows = (text) => async () => (await page.locator('body').innerText()).includes(text);
      await until(`${name}: the beginning`, shows(`${name} from before`));
      appendFileSync(path(name), `${name} has grown\n`);
      await until(`${name}: the next line`, shows(`${name} has grown`));
      assert.deepEqual(problems, []);
    }
  });
});
