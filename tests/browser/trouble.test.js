import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launch } from './chromium.js';
import { startStub, streaming } from './stub.js';
import { until } from './until.js';

/** What no stream of ours does, or not when a test wants it: each test has a server of its own. */
describe('sse.js in trouble', () => {
  let browser;
  before(async () => (browser = await launch()));
  after(() => browser.close());

  const BEAT = 'event: heartbeat\ndata: {"interval_ms":300}\n\n';
  const LONG_BEAT = 'event: heartbeat\ndata: {"interval_ms":60000}\n\n';

  /** A page of this server's that writes down what sse.js tells it. */
  const open = async (t, paths, options = {}, page = null) => {
    const stub = await startStub(paths);
    t.after(() => stub.end());
    const context = await browser.newContext();
    t.after(() => context.close());
    const opened = page ?? (await context.newPage());
    opened.problems = [];
    opened.on('pageerror', (error) => opened.problems.push(String(error)));
    await opened.goto(new URL('favicon.svg', stub.base).href);
    await connect(opened, stub, options);
    return { stub, page: opened, context };
  };
  const connect = (page, stub, options) =>
    page.evaluate(
      async ({ base, options }) => {
        const { connect } = await import(`${base}sse.js`);
        const seen = { events: [], states: [], reasons: [], gaps: [] };
        window.seen = seen;
        window.stream = connect(`${base}stream`, {
          ...options,
          onevent: (event) => seen.events.push(event),
          onstate: (state) => seen.states.push(state),
          onunavailable: (reason) => seen.reasons.push(reason),
          ongap: (gap) => seen.gaps.push(gap),
        });
      },
      { base: stub.base, options },
    );
  /** From now on its clock moves when it is told to, and by so much. */
  const stopClock = async (page) => {
    await page.clock.install({ time: 0 });
    await page.clock.pauseAt(1000);
  };
  const seen = (page) => page.evaluate(() => window.seen);
  const state = (page) => page.evaluate(() => window.stream.state);
  const isOpen = (page) => until('live', async () => (await state(page)).name === 'open');

  for (const shared of [true, false]) {
    const how = shared ? 'shared' : 'alone';

    test(`events named error and open are events, and nothing comes twice (${how})`, async (t) => {
      const say = (from) =>
        `retry: 100\n\n${[1, 2, 3]
          .filter((n) => n > from)
          .map((n) => `id: ${n}\nevent: ${['', 'error', 'open', 'error'][n]}\ndata: ${n}\n\n`)
          .join('')}`;
      const { stub, page } = await open(
        t,
        { '/stream': (request, response) => streaming(say(Number(request.lastId)))(request, response) },
        { shared, events: ['error', 'open'] },
      );
      await until('all three', async () => (await seen(page)).events.length === 3);
      await isOpen(page);
      stub.requests[0].end();
      await until('it is back', () => stub.requests.length === 2);
      assert.equal(stub.requests[1].lastId, '3');
      await isOpen(page);
      stub.requests[1].say('id: 4\nevent: error\ndata: 4\n\n');
      await until('what is new', async () => (await seen(page)).events.length === 4);
      const { events } = await seen(page);
      assert.deepEqual(
        events.map(({ type, data, id }) => [type, data, id]),
        [['error', '1', '1'], ['open', '2', '2'], ['error', '3', '3'], ['error', '4', '4']],
      );
      assert.equal((await state(page)).name, 'open');
      assert.deepEqual(page.problems, []);
    });

    test(`a server's error event that nobody asked for disturbs nothing (${how})`, async (t) => {
      const { page } = await open(
        t,
        { '/stream': streaming('event: error\ndata: x\n\nevent: open\ndata: y\n\nid: 1\ndata: z\n\n') },
        { shared },
      );
      await until('the event', async () => (await seen(page)).events.length === 1);
      assert.equal((await state(page)).name, 'open');
      assert.deepEqual(page.problems, []);
    });

    test(`unavailable is told once, moves no place, and is over with the next event (${how})`, async (t) => {
      let attempts = 0;
      const clocked = await browser.newPage();
      t.after(() => clocked.context().close());
      // So that the next event ends it, and not that nothing has been said for a second.
      await stopClock(clocked);
      const { stub, page } = await open(
        t,
        {
          '/stream'(request, response) {
            attempts += 1;
            response.writeHead(200, { 'Content-Type': 'text/event-stream' });
            if (attempts === 1) return response.end('retry: 50\nid: 1\ndata: a\n\n');
            if (attempts > 4) return response.write('id: 2\ndata: b\n\n');
            return response.end('retry: 50\nevent: unavailable\ndata: {"reason":"too many subscribers"}\n\n');
          },
        },
        { shared },
        clocked,
      );
      await until('it goes on', async () => (await seen(page)).events.length === 2);
      const { reasons, states, events } = await seen(page);
      assert.deepEqual(reasons, ['too many subscribers']);
      assert.deepEqual(events.map(({ data }) => data), ['a', 'b']);
      assert.deepEqual(stub.requests.slice(1).map(({ lastId }) => lastId), ['1', '1', '1', '1']);
      const from = states.findIndex(({ reason }) => reason);
      const during = states.slice(from, -1);
      assert.ok(during.every(({ name, reason }) => name === 'waiting' && reason === 'too many subscribers'), JSON.stringify(states));
      assert.deepEqual(states.at(-1), { name: 'open' });
    });

    test(`a connection that was lost silently is replaced after 2.5 heartbeats (${how})`, async (t) => {
      const page = await browser.newPage();
      t.after(() => page.context().close());
      await page.addInitScript(() => {
        window.opened = 0;
        window.beats = 0;
        window.EventSource = class extends window.EventSource {
          constructor(...args) {
            super(...args);
            window.opened += 1;
            this.addEventListener('heartbeat', () => (window.beats += 1));
          }
        };
      });
      await stopClock(page);
      const { stub } = await open(t, { '/stream': streaming(`retry: 100\n${BEAT}id: 1\ndata: a\n\n`) }, { shared }, page);
      await until('the event', async () => (await seen(page)).events.length === 1);
      assert.equal(stub.requests[0].url.searchParams.get('heartbeat'), 'event');
      // As long as it beats, it is kept.
      for (let n = 2; n < 6; n += 1) {
        await page.clock.runFor(740);
        stub.requests[0].say(BEAT);
        await until('the heartbeat', async () => (await page.evaluate(() => window.beats)) === n);
      }
      await page.clock.runFor(740);
      assert.equal(await page.evaluate(() => window.opened), 1);
      await page.clock.runFor(10);
      assert.equal(await page.evaluate(() => window.opened), 2);
      await until('another connection', () => stub.requests.length === 2);
      assert.equal(stub.requests[1].lastId, '1');
      await until('its event', async () => (await seen(page)).events.length === 2);
      assert.deepEqual((await seen(page)).events.map(({ type }) => type), ['message', 'message']);
    });

    for (const [what, act] of [
      ['retry()', (page) => page.evaluate(() => window.stream.retry())],
      ['online', (page) => page.evaluate(() => dispatchEvent(new Event('online')))],
      ['returning to the page', (page) => page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')))],
    ]) {
      test(`${what} replaces a connection that is open (${how})`, async (t) => {
        const { stub, page } = await open(t, { '/stream': streaming(`${LONG_BEAT}id: 1\ndata: a\n\n`) }, { shared });
        await until('the event', async () => (await seen(page)).events.length === 1);
        await act(page);
        await until('another connection', () => stub.requests.length === 2);
        assert.equal(stub.requests[1].lastId, '1');
        await isOpen(page);
      });
    }

    test(`a login page instead of the stream is reported as one (${how})`, async (t) => {
      const login = (_, response) => response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' }).end('<form>');
      for (const stream of [login, (_, response) => response.writeHead(302, { Location: '/login' }).end()]) {
        const { page } = await open(t, { '/stream': stream, '/login': login }, { shared });
        await until('it is told', async () => (await seen(page)).reasons.length > 0);
        const { reasons, states } = await seen(page);
        assert.deepEqual(reasons, ['a login page instead of the stream']);
        assert.equal(states.find(({ reason }) => reason).name, 'waiting');
      }
    });
  }

  test("another site's login page is reported as one", async (t) => {
    const other = await startStub({
      '/login': (_, response) => response.writeHead(200, { 'Content-Type': 'text/html' }).end(),
    });
    t.after(() => other.end());
    const redirect = (_, response) => response.writeHead(302, { Location: `${other.base}login` }).end();
    const { page } = await open(t, { '/stream': redirect });
    await until('it is told', async () => (await seen(page)).reasons.length > 0);
    assert.match((await seen(page)).reasons[0], /login page/);
  });

  test('a tab that follows has the leader replace a lost connection', async (t) => {
    const { stub, page, context } = await open(t, { '/stream': streaming(`${LONG_BEAT}id: 1\ndata: a\n\n`) });
    await until('the event', async () => (await seen(page)).events.length === 1);
    const second = await context.newPage();
    await second.goto(new URL('favicon.svg', stub.base).href);
    await connect(second, stub, {});
    await until('the event', async () => (await seen(second)).events.length > 0);
    // (To open a tab hides the other, in some browsers.)
    await page.evaluate(() => {
      Object.defineProperty(document, 'visibilityState', { value: 'hidden' });
    });
    const { length } = stub.requests;
    await second.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
    await until('another connection', () => stub.requests.length > length);
  });

  test('a server that sends no heartbeat is not watched', async (t) => {
    const { stub, page } = await open(t, { '/stream': streaming('id: 1\ndata: a\n\n') }, { heartbeat: false });
    await until('the event', async () => (await seen(page)).events.length === 1);
    assert.equal(stub.requests[0].url.search, '');
  });

  test('an id in the query, by any of its names, is sent once', async (t) => {
    const { stub, page } = await open(t, { '/stream': streaming('data: a\n\n') });
    for (const name of ['lastEventId', 'lastEventID', 'Last-Event-ID', 'last_event_id']) {
      const { length } = stub.requests;
      await page.evaluate(async ([base, name]) => {
        window.stream.close();
        const { connect } = await import(`${base}sse.js`);
        window.stream = connect(`${base}stream?x=1&${name}=7`, { shared: false });
      }, [stub.base, name]);
      const { url } = await until('a request', () => stub.requests.slice(length).find(({ url }) => url.searchParams.has('x')));
      assert.deepEqual([...url.searchParams], [['x', '1'], ['lastEventId', '7'], ['heartbeat', 'event']]);
    }
  });

  for (const kind of ['Worker', 'SharedWorker']) {
    test(`it runs in a ${kind}`, async (t) => {
      const script = `
        import { connect } from './sse.js';
        const tell = (port) => connect('stream', {
          onevent: (event) => port.postMessage(event.data),
          onstate: (state) => port.postMessage(state.name),
        });
        if (globalThis.onconnect === undefined) tell(globalThis);
        else globalThis.onconnect = ({ ports: [port] }) => tell(port);`;
      const { stub, page } = await open(t, {
        '/worker.js': (_, response) => response.writeHead(200, { 'Content-Type': 'text/javascript' }).end(script),
        '/stream': streaming(`${BEAT}id: 1\ndata: a\n\n`),
      });
      await page.evaluate((kind) => {
        window.stream.close();
        window.heard = [];
        const worker = new globalThis[kind]('/worker.js', { type: 'module' });
        const port = kind === 'Worker' ? worker : worker.port;
        port.onmessage = ({ data }) => window.heard.push(data);
        worker.onerror = (event) => window.heard.push(`error: ${event.message}`);
      }, kind);
      const heard = () => page.evaluate(() => window.heard);
      await until('the event', async () => (await heard()).includes('a'));
      assert.deepEqual((await heard()).filter((word) => word.startsWith('error')), []);
      const { length } = stub.asked('/stream');
      // The watchdog works there, too.
      await until('another connection', () => stub.asked('/stream').length > length);
    });
  }
});
