import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startHarness } from '../harness.js';
import { basename } from 'node:path';
import { isDescendant, killAll, processes } from './processes.js';
import { eachLook, launch, newProfile, shoot, until } from './site.js';

/**
 * The status page is the responder's, which not every server under test has: so these
 * tests have a server of their own.
 */
describe('the status page', () => {
  let browser;
  let harness;
  before(async () => {
    harness = await startHarness(() => ({
      clock: { program: 'clock', settings: { SSE_INTERVAL: '100ms' } },
      tail: { program: 'tail' },
    }));
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await harness?.end();
  });

  const address = (path) => new URL(path, harness.base).href;
  const text = (page, selector) => page.locator(selector).textContent();
  const badge = (page) => page.locator('#state').getAttribute('data-state');
  const line = (page, plot) => page.getAttribute(`#${plot} .line`, 'd');

  const open = async (t, path, options) => {
    const context = await newProfile(browser, options);
    t.after(() => context.close());
    const page = await context.newPage();
    page.problems = [];
    page.on('pageerror', (error) => page.problems.push(String(error)));
    await page.goto(address(path));
    return page;
  };

  /** Clients of a stream, read as fast as they come. */
  const listen = async (t, stream, number) => {
    const stop = new AbortController();
    t.after(() => stop.abort());
    for (let n = 0; n < number; n += 1) {
      const response = await fetch(address(stream), { signal: stop.signal });
      assert.equal(response.status, 200);
      const drained = response.body.pipeTo(new WritableStream());
      drained.catch(() => {});
    }
    return () => stop.abort();
  };

  const killResponder = () =>
    killAll(processes(({ pid, executable }) => basename(executable) === 'sse-fcgi' && isDescendant(pid, harness.pid)));

  test('it shows who listens, what is sent, and who has left', async (t) => {
    const page = await open(t, 'status.html');
    await until('live', async () => (await badge(page)) === 'open');
    assert.equal(await text(page, '#source'), '/events/status');
    assert.equal(await text(page, '#subscribers'), '0');
    const leave = await listen(t, 'events/clock', 3);
    await until('three', async () => (await text(page, '#subscribers')) === '3');
    await until('their share', async () => /clock\s*3/.test(await text(page, '#streams')));
    // Ten a second for each of them.
    await until('thirty a second', async () => {
      const rate = Number(await text(page, '#events-rate'));
      return rate > 20 && rate < 40;
    });
    await until('a line', async () => /^M.*L/.test(await line(page, 'events-plot')));
    assert.match(await text(page, '#version'), /^\d+\.\d+\.\d+$/);
    assert.match(await text(page, '#bytes'), /^[\d.]+ k?B$/);
    leave();
    await until('nobody', async () => (await text(page, '#subscribers')) === '0');
    assert.deepEqual(page.problems, []);
  });

  test('it says clearly that the responder cannot be reached, and goes on when it can', async (t) => {
    const page = await open(t, 'status.html');
    await until('figures', async () => (await text(page, '#uptime')) !== '–');
    await page.route('**/events/status', (route) => route.fulfill({ status: 502, body: '' }));
    await until('it says so', async () => (await text(page, '#problem')).includes('the server answers 502'));
    assert.match(await text(page, '#problem'), /^The responder cannot be reached: .* What is shown is of \d\d:\d\d:\d\d\.$/);
    assert.equal(await badge(page), 'waiting');
    assert.match(await page.getAttribute('#figures', 'class'), /stale/);
    await page.unroute('**/events/status');
    await page.route('**/events/status', (route) => route.abort());
    await until('it says so', async () => (await text(page, '#problem')).includes('does not answer'));
    await page.unroute('**/events/status');
    await until('live', async () => (await badge(page)) === 'open');
    assert.equal(await page.locator('#problem').isVisible(), false);
    assert.doesNotMatch(await page.getAttribute('#figures', 'class'), /stale/);
    // Where nothing was known the line is broken; between the two troubles something may be.
    await until('two pieces', async () => (await line(page, 'subscribers-plot')).split('M').length >= 3);
    assert.deepEqual(page.problems, []);
  });

  test('a responder that was started again begins anew', async (t) => {
    const page = await open(t, 'status.html');
    await until('it has run for a while', async () => /^([2-9]|\d\d) s|min/.test(await text(page, '#uptime')));
    assert.equal(killResponder(), 1);
    await until('it says so', async () => (await text(page, '#note')).includes('started again'));
    await until('live', async () => (await badge(page)) === 'open');
    assert.deepEqual(page.problems, []);
  });

  for (const [what, stream] of [
    ['something else', '/index.html'],
    ['no such page', '/nowhere'],
  ]) {
    test(`${what} is no status page`, async (t) => {
      const page = await open(t, `status.html?stream=${encodeURIComponent(stream)}`);
      await until('it says so', () => page.locator('#problem').isVisible());
      const expected = stream === '/nowhere' ? 'the server answers 404' : 'what answers is no status page of sse-fcgi';
      assert.equal(await text(page, '#problem'), `The responder cannot be reached: ${expected}.`);
      assert.equal(await text(page, '#subscribers'), '–');
    });
  }

  test('the pages take the other gateway when they are asked to, and keep to it', async (t) => {
    const page = await open(t, 'index.html');
    await page.getByRole('link', { name: 'The same through FastCGI' }).click();
    await page.waitForURL('**/index.html?gateway=fastcgi');
    await page.locator('#gateways').getByText('These streams come through FastCGI').waitFor();
    await page.getByRole('link', { name: 'Clock', exact: true }).click();
    await until('a tick', async () => (await text(page, '.clock-time')) !== '--:--:--');
    assert.equal(await text(page, '#source'), '/events/clock');
    await page.goto(address('index.html?gateway=cgi'));
    await page.goto(address('clock.html'));
    assert.equal(await text(page, '#source'), '/cgi-bin/nph-clock.cgi');
    await page.goto(address('clock.html?gateway=__proto__'));
    assert.equal(await text(page, '#source'), '/cgi-bin/nph-clock.cgi', 'there is no such gateway');
    assert.deepEqual(page.problems, []);
  });

  describe('what it is made of', () => {
    let page;
    before(async () => {
      page = await (await newProfile(browser)).newPage();
      await page.goto(address('favicon.svg'));
    });

    const results = (file, name, calls) =>
      page.evaluate(
        async ({ module, name, calls }) => {
          const f = (await import(module))[name];
          return calls.map((args) => f(...args));
        },
        { module: address(file), name, calls },
      );

    const figures = {
      subscribers: 1,
      subscribers_by_stream: { tail: 1 },
      catching_up: 0,
      events: 100,
      bytes: 2000,
      dropped: 0,
      accept_errors: 0,
      oldest_seconds: 1,
      uptime_seconds: 10,
      version: '1',
    };

    test('figures are whole, or none', async () => {
      const wrong = ['', 'null', '[]', '{}', { ...figures, events: -1 }, { ...figures, bytes: '5' }, { ...figures, version: 1 }];
      const calls = [...wrong, { ...figures, subscribers_by_stream: null }, { ...figures, subscribers_by_stream: { a: {} } }];
      const texts = calls.map((call) => [typeof call === 'string' ? call : JSON.stringify(call)]);
      assert.deepEqual(await results('status-figures.js', 'parseFigures', texts), calls.map(() => null));
      assert.deepEqual(await results('status-figures.js', 'parseFigures', [[JSON.stringify({ ...figures, more: 1 })]]), [{ ...figures, more: 1 }]);
    });

    test('a rate is said of one process only', async () => {
      const later = { ...figures, events: 160, bytes: 2600, uptime_seconds: 12 };
      const calls = [
        [figures, later, 2],
        [figures, figures, 1],
        [later, figures, 2],
        [figures, later, 0],
      ];
      assert.deepEqual(await results('status-figures.js', 'rates', calls), [{ events: 30, bytes: 300 }, { events: 0, bytes: 0 }, null, null]);
    });

    test('figures are said in units', async () => {
      const sizes = [[0], [999], [1000], [1540], [99_960], [123_456], [999_600], [5e9]];
      assert.deepEqual(await results('status-figures.js', 'size', sizes), ['0 B', '999 B', '1.0 kB', '1.5 kB', '100 kB', '123 kB', '1.0 MB', '5.0 GB']);
      const spans = [[0], [59.9], [60], [61], [3600], [3700], [90_061]];
      assert.deepEqual(await results('status-figures.js', 'span', spans), ['0 s', '59 s', '1 min', '1 min 1 s', '1 h', '1 h 1 min', '1 d 1 h']);
      assert.deepEqual(await results('status-figures.js', 'rate', [[0], [0.25], [9.96], [12.4], [12_345]]), ['0', '0.3', '10.0', '12', '12,345']);
    });

    test('a scale ends at a round number, and a line breaks where nothing is known', async () => {
      const tops = await results('plot.js', 'roundUp', [0, 3, 4, 5, 9, 11, 21, 41, 99, 101, 50_000].map((n) => [n]));
      assert.deepEqual(tops, [4, 4, 6, 6, 10, 20, 40, 60, 100, 200, 60_000]);
      const samples = [[0, 0], [50, 10], [60, null], [100, 5]].map(([at, value]) => ({ at, value }));
      assert.deepEqual(await results('plot.js', 'course', [[samples, { from: 0, until: 100, top: 10 }]]), ['M0.0 160.0L300.0 0.0M600.0 80.0']);
    });
  });

  test('it fits a phone and a desk, by day and by night', async (t) => {
    await listen(t, 'events/clock', 4);
    const page = await open(t, 'status.html');
    await until('a line', async () => /L.*L/.test(await line(page, 'events-plot')));
    await eachLook(page, (look) => shoot(page, `status-${look}`));
    assert.deepEqual(page.problems, []);
  });
});
