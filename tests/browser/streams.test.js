/**
 * Several streams in one connection: sse.js in Chromium and sse-httpd, without anything between.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { appendFileSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch } from './chromium.js';
import { until } from './until.js';

const project = fileURLToPath(new URL('../..', import.meta.url));
const programs = resolve(process.env.SSE_TEST_PROGRAMS ?? join(project, 'target/debug'));

/** The names of the streams at `/dashboard`, each the file NAME.jsonl. */
const NAMES = ['log', 'builds', 'chat', ...Array.from({ length: 10 }, (_, n) => `s${n}`)];

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

const KEY = '0123456789abcdef'.repeat(2);

/** The query of a signed link for this path and so many seconds. */
function link(path, seconds) {
  const e = Math.floor(Date.now() / 1000) + seconds;
  const tag = createHmac('sha256', KEY).update(`sse1\n${e}\n${path}`).digest('hex');
  return `e=${e}&p=${encodeURIComponent(path)}&t=${tag}`;
}

/**
 * A server with these streams and a folder of its own, and a browser without anything in it.
 *
 * @param {import('node:test').TestContext} t
 * @param {string} [settings] more of them for `/dashboard`
 */
async function start(t, settings = '') {
  const folder = mkdtempSync(join(tmpdir(), 'sse-streams-js-'));
  const path = (name) => join(folder, `${name}.jsonl`);
  for (const name of NAMES) writeFileSync(path(name), '');
  writeFileSync(join(folder, 'keys'), `${KEY}\n`, { mode: 0o600 });
  const sections = NAMES.map((name) => `[stream ${name}]\nSSE_FILE = ${path(name)}\n`);
  writeFileSync(
    join(folder, 'config'),
    `SSE_RETRY = 1s\n[/dashboard]\nSSE_STREAMS = ${NAMES.join(' ')}\n${settings}[/status]\nSSE_STREAM = status\n${sections.join('')}`,
  );
  let child;
  const run = async (listen) => {
    const args = ['--allow-root', '--listen', listen, '--config', join(folder, 'config')];
    child = spawn(join(programs, 'sse-httpd'), args, { env: { PATH: '/usr/bin:/bin' }, stdio: ['ignore', 'pipe', 'inherit'] });
    for await (const line of createInterface({ input: child.stdout })) return line;
    throw new Error('sse-httpd did not start (is it built?)');
  };
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  const base = await run('127.0.0.1:0');
  const end = async () => {
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await ended;
  };
  const context = await browser.newContext();
  t.after(async () => {
    await context.close();
    await end();
    process.off('exit', kill);
    rmSync(folder, { recursive: true });
  });
  await context.addInitScript(() => {
    // A page can be made deaf for what other tabs say.
    window.BroadcastChannel = class extends window.BroadcastChannel {
      set onmessage(/** @type {any} */ hear) {
        super.onmessage = (event) => window.isDeaf || hear(event);
      }
    };
    window.eventSources = [];
    window.EventSource = class extends window.EventSource {
      constructor(...args) {
        super(...args);
        window.eventSources.push(this);
      }
    };
  });
  // Our modules at the server's own address.
  await context.route('**/app/*', (route) => {
    const file = join(project, 'web', new URL(route.request().url()).pathname.replace('/app/', ''));
    if (!existsSync(file)) return route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>test</title>' });
    return route.fulfill({ contentType: 'text/javascript', body: readFileSync(file) });
  });
  let written = 0;
  return {
    base,
    path,
    /** Appends a numbered event; `event` is its name. */
    write(name, event) {
      written += 1;
      const data = `${name} ${written}`;
      appendFileSync(path(name), `${JSON.stringify(event ? { event, data } : { data })}\n`);
      return data;
    },
    async restart() {
      await end();
      await run(new URL(base).host);
    },
    end,
    run: () => run(new URL(base).host),
    /** How many connections with several streams the server has. */
    async connections() {
      const answer = await fetch(new URL('status', base));
      return (await answer.json()).subscribers_by_stream.streams;
    },
    async page() {
      const page = await context.newPage();
      await page.goto(new URL('app/page', base).href);
      return page;
    },
    /** A tab that wants these streams. */
    async tab(streams, options = {}, query = '') {
      const page = await this.page();
      await listen(page, streams, options, query);
      return page;
    },
  };
}

/**
 * Notes in `window.seen` what a stream tells.
 *
 * @param {import('playwright-core').Page} page
 * @param {string[]} streams
 * @param {object} [options] those of connect() that can be sent to a page; `renew` is a link
 * @param {string} [query]
 */
const listen = (page, streams, options = {}, query = '') =>
  page.evaluate(
    async ({ streams, options: { renew, ...options }, query }) => {
      const { connect } = await import('/app/sse.js');
      const seen = (window.seen ??= { events: [], gaps: [], closes: [], reasons: [], states: [] });
      (window.streams ??= []).push(
        connect(`/dashboard?${query}`, {
          streams,
          ...options,
          renew: renew && (async () => renew),
          onevent: (event) => seen.events.push(event),
          onstate: ({ name }) => seen.states.push(name),
          ongap: (gap) => seen.gaps.push(gap),
          onclose: (event) => seen.closes.push(event),
          onunavailable: (reason, stream) => seen.reasons.push([stream, reason]),
        }),
      );
    },
    { streams, options, query },
  );

const seenBy = (page) => page.evaluate(() => window.seen);
const dataOf = async (page, stream) =>
  (await seenBy(page)).events.filter((event) => !stream || event.stream === stream).map(({ data }) => data);
const isOpen = (page) => page.evaluate(() => window.streams.every(({ state }) => state.name === 'open'));
const open = (...pages) =>
  until('that all are open', async () => (await Promise.all(pages.map(isOpen))).every(Boolean));
/** The streams of the connections that a page has. */
const askedBy = (page) =>
  page.evaluate(() => {
    const open = window.eventSources.filter(({ readyState }) => readyState !== 2);
    return open.map(({ url }) => new URL(url).searchParams.getAll('s'));
  });
const arrives = (page, data, stream) =>
  until(`${data.at(-1)} in a tab`, async () => (await dataOf(page, stream)).length >= data.length);

describe('several streams in one connection', { concurrency: 2 }, () => {
  test('each tab has exactly its streams, and all share one connection', async (t) => {
    const server = await start(t);
    const { write } = server;
    const one = await server.tab(['log', 'builds'], { events: ['done'] });
    const other = await server.tab(['builds', 'chat'], { events: ['builds/late'] });
    await open(one, other);
    const log = [write('log'), write('log', 'done')];
    const builds = [write('builds')];
    const [done, late] = [write('builds', 'done'), write('builds', 'late')];
    const chat = [write('chat')];
    write('s0');
    write('chat', 'late');
    await arrives(one, [...log, ...builds, done]);
    await arrives(other, [...builds, late, ...chat]);
    assert.deepEqual(await dataOf(one, 'log'), log);
    assert.deepEqual(await dataOf(one, 'builds'), [...builds, done]);
    assert.deepEqual(await dataOf(other, 'builds'), [...builds, late]);
    assert.deepEqual(await dataOf(other, 'chat'), chat);
    const { id, ...first } = (await seenBy(one)).events.find(({ stream }) => stream === 'log');
    assert.deepEqual(first, { stream: 'log', type: 'message', data: log[0] });
    assert.match(id, /^\*/);
    assert.equal(await server.connections(), 1);
    assert.deepEqual([await askedBy(one), await askedBy(other)], [[['builds', 'chat', 'log']], []]);
  });

  test('ten streams that a page asks for one by one are one connection', async (t) => {
    const server = await start(t);
    const page = await server.page();
    const names = NAMES.slice(-10);
    await Promise.all(names.map((name) => listen(page, [name])));
    await open(page);
    const all = names.map((name) => server.write(name));
    await arrives(page, all);
    assert.deepEqual((await dataOf(page)).sort(), all.sort());
    assert.deepEqual((await seenBy(page)).gaps, []);
    await until('that the others are gone', async () => (await server.connections()) === 1);
    assert.deepEqual(await askedBy(page), [names]);
  });

  test('tabs that come and go change the connection, and nothing is lost or doubled', async (t) => {
    const server = await start(t);
    const first = await server.tab(['log']);
    const sent = { log: [], builds: [], chat: [] };
    const writing = setInterval(() => {
      for (const name of Object.keys(sent)) if (sent[name].length < 5000) sent[name].push(server.write(name));
    }, 10);
    t.after(() => clearInterval(writing));
    await open(first);
    const second = await server.tab(['builds', 'log']);
    await open(second);
    const third = await server.tab(['chat']);
    await open(third);
    assert.deepEqual(await askedBy(first), [['builds', 'chat', 'log']]);
    // The tab with the connection goes, and another takes over.
    await first.close();
    await until('another one', async () => (await askedBy(second)).length + (await askedBy(third)).length === 1);
    await third.close();
    // What nobody wants any more is left out after a while.
    await until('a smaller connection', async () => {
      const asked = await askedBy(second);
      return asked.length === 1 && asked[0].length === 2;
    });
    await open(second);
    clearInterval(writing);
    for (const name of ['builds', 'log']) {
      const last = sent[name].at(-1);
      await until(`the last of ${name}`, async () => (await dataOf(second, name)).at(-1) === last);
      const data = await dataOf(second, name);
      assert.deepEqual(data, sent[name].slice(sent[name].indexOf(data[0])));
    }
    assert.deepEqual(await dataOf(second, 'chat'), []);
    assert.deepEqual((await seenBy(second)).gaps.filter(({ reason }) => reason !== 'late'), []);
    assert.equal(await server.connections(), 1);
  });

  test('a restart and a rotation meanwhile lose nothing of any stream', async (t) => {
    const server = await start(t);
    const tabs = [await server.tab(['log', 'builds']), await server.tab(['log', 'chat'])];
    await open(...tabs);
    const sent = { log: [], builds: [], chat: [] };
    const write = () => {
      for (const name of Object.keys(sent)) sent[name].push(server.write(name));
    };
    const all = async () => {
      for (const [n, names] of [['log', 'builds'], ['log', 'chat']].entries()) {
        for (const name of names) {
          await arrives(tabs[n], sent[name], name);
          assert.deepEqual(await dataOf(tabs[n], name), sent[name]);
        }
      }
    };
    write();
    await all();
    await server.end();
    write();
    renameSync(server.path('log'), server.path('log').replace('.jsonl', '.jsonl.1'));
    write();
    await server.run();
    await open(...tabs);
    write();
    await all();
    renameSync(server.path('chat'), server.path('chat').replace('.jsonl', '.jsonl.1'));
    write();
    write();
    await all();
    // Cut short: a gap that names its stream, and the others go on.
    writeFileSync(server.path('builds'), '');
    await until('the gap', async () => (await seenBy(tabs[0])).gaps.length > 0);
    const [gap] = (await seenBy(tabs[0])).gaps;
    assert.deepEqual([gap.stream, gap.reason], ['builds', 'truncated']);
    assert.deepEqual((await seenBy(tabs[1])).gaps, []);
    assert.equal(await server.connections(), 1);
  });

  test('a tab that joins a running stream too late is told of which', async (t) => {
    const server = await start(t);
    const first = await server.tab(['log', 'builds'], { keep: 5 });
    await open(first);
    const log = Array.from({ length: 8 }, () => server.write('log'));
    const builds = [server.write('builds')];
    await arrives(first, [...log, ...builds]);
    const late = await server.tab(['log', 'builds', 'chat'], { keep: 5 });
    await open(late);
    const chat = [server.write('chat')];
    await arrives(late, [...log.slice(-5), ...builds, ...chat]);
    assert.deepEqual((await seenBy(late)).gaps, [{ stream: 'log', reason: 'late' }]);
    assert.deepEqual(await dataOf(late), [...log.slice(-5), ...builds, ...chat]);
    // Another type of a stream that is there: it was not listened for before.
    const more = await server.tab(['builds'], { events: ['done'] });
    await open(more);
    const done = [server.write('builds', 'done')];
    await arrives(more, [...builds, ...done]);
    assert.deepEqual((await seenBy(more)).gaps, [{ stream: 'builds', reason: 'late' }]);
    assert.equal(await server.connections(), 1);
  });

  test('a tab that was put aside goes on where it was, whatever the others have read', async (t) => {
    const server = await start(t);
    const tabs = [await server.tab(['log', 'builds']), await server.tab(['log'])];
    await open(...tabs);
    const log = [server.write('log')];
    const builds = [server.write('builds')];
    await arrives(tabs[0], [...log, ...builds]);
    const turn = (type) =>
      tabs[0].evaluate((type) => dispatchEvent(new PageTransitionEvent(type, { persisted: true })), type);
    await turn('pagehide');
    await until('that the other has it', async () => (await askedBy(tabs[1])).length === 1);
    log.push(server.write('log'));
    builds.push(server.write('builds'));
    await arrives(tabs[1], log);
    await turn('pageshow');
    await open(tabs[0]);
    log.push(server.write('log'));
    builds.push(server.write('builds'));
    await arrives(tabs[0], [...log, ...builds]);
    assert.deepEqual([await dataOf(tabs[0], 'log'), await dataOf(tabs[0], 'builds')], [log, builds]);
    assert.deepEqual((await seenBy(tabs[0])).gaps, []);
    assert.deepEqual(await dataOf(tabs[1]), log);
  });

  test('the last words of a leader reach one tab and not the next leader, in another order', async (t) => {
    const server = await start(t);
    const tabs = [];
    for (let n = 0; n < 3; n += 1) tabs.push(await server.tab(['log', 'builds', 'chat']));
    await open(...tabs);
    const [leader, next, other] = tabs;
    const sent = { log: [], builds: [], chat: [] };
    const write = async (pages) => {
      for (const name of ['log', 'chat', 'builds', 'log']) {
        sent[name].push(server.write(name));
        // One at a time: so the next connection brings them in another order.
        for (const page of pages) await arrives(page, sent[name], name);
      }
    };
    await write(tabs);
    await next.evaluate(() => (window.isDeaf = true));
    await write([leader, other]);
    await leader.close();
    for (const name of Object.keys(sent)) await arrives(next, sent[name], name);
    await next.evaluate(() => (window.isDeaf = false));
    await write([next, other]);
    for (const page of [next, other]) {
      for (const name of Object.keys(sent)) assert.deepEqual(await dataOf(page, name), sent[name]);
      assert.deepEqual((await seenBy(page)).gaps, []);
    }
  });

  test('a stream that cannot be read is named, and the others go on', async (t) => {
    const server = await start(t);
    const tab = await server.tab(['log', 'nothing']);
    await until('a reason', async () => (await seenBy(tab)).reasons.length > 0);
    const log = [server.write('log')];
    await arrives(tab, log);
    assert.deepEqual((await seenBy(tab)).reasons, [['nothing', 'no such stream, or no access']]);
    assert.deepEqual(await dataOf(tab), log);
  });

  test('a link opens the streams that it covers, and another one goes on with them', async (t) => {
    const server = await start(t, 'SSE_KEYS = keys\n');
    const log = [server.write('log')];
    const some = await server.tab(['log', 'builds'], {}, link('/dashboard/log', 600));
    await arrives(some, log);
    await until('a reason', async () => (await seenBy(some)).reasons.length > 0);
    assert.deepEqual((await seenBy(some)).reasons, [['builds', 'no such stream, or no access']]);
    const renew = `/dashboard?${link('/dashboard', 600)}`;
    const all = await server.tab(['log', 'builds'], { renew }, link('/dashboard', 4));
    await arrives(all, log);
    await until('another connection', () => all.evaluate(() => window.eventSources.length > 1));
    log.push(server.write('log'));
    const builds = [server.write('builds')];
    await arrives(all, [...log, ...builds]);
    assert.deepEqual([await dataOf(all, 'log'), await dataOf(all, 'builds')], [log, builds]);
    assert.deepEqual((await seenBy(all)).gaps, []);
    assert.deepEqual(await askedBy(all), [['builds', 'log']]);
    await arrives(some, log);
    assert.deepEqual(await dataOf(some), log);
  });

  test('more streams than fit into one id are two connections', async (t) => {
    const server = await start(t);
    const tabs = [await server.tab(NAMES.slice(0, 8)), await server.tab([...NAMES.slice(5), 'nothing'])];
    await open(...tabs);
    const shared = server.write('s3');
    for (const tab of tabs) await arrives(tab, [shared]);
    assert.equal(await server.connections(), 2);
  });

  test('as the documentation says', async (t) => {
    const server = await start(t);
    const failed = server.write('builds', 'failed');
    const page = await server.page();
    const said = [];
    page.on('console', (message) => said.push(message.text()));
    page.on('pageerror', (error) => said.push(String(error)));
    const content = `
const show = (...words) => console.log(...words);
const warn = show;
import { connect } from './sse.js';

const stream = connect('/dashboard', {
  streams: ['log', 'builds'],
  events: ['done', 'builds/failed'],
  onevent: ({ stream, type, data }) => show(stream, type, data),
  ongap: ({ stream, reason }) => warn(stream, reason),
  onunavailable: (reason, stream) => warn(stream, reason),
});
`;
    await page.addScriptTag({ type: 'module', content });
    await until('the event', () => said.includes(`builds failed ${failed}`));
    const done = server.write('log', 'done');
    server.write('log', 'failed');
    await until('the next', () => said.length > 1);
    assert.deepEqual(said, [`builds failed ${failed}`, `log done ${done}`]);
  });

  test('names that are none are a mistake that is told at once', async (t) => {
    const page = await (await start(t)).page();
    const said = await page.evaluate(async () => {
      const { connect } = await import('/app/sse.js');
      return [[], [''], ['a/b'], [7]].map((streams) => {
        try {
          return connect('/dashboard', { streams });
        } catch (error) {
          return String(error);
        }
      });
    });
    assert.deepEqual(said, [
      'TypeError: streams: name at least one',
      'TypeError: streams: "" is not the name of a stream',
      'TypeError: streams: "a/b" is not the name of a stream',
      'TypeError: streams: 7 is not the name of a stream',
    ]);
  });
});
