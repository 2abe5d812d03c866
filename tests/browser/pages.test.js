import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { address, appendToLog, connectionsOf, eachLook, killCgi, launch, newLines, newProfile, pageOf, shoot, stream, until } from './site.js';

/** What a page's element says. */
const text = (page, selector) => page.locator(selector).textContent();
const rows = (page) => page.locator('#log .row.line').allTextContents();
const badge = (page) => page.locator('#state').getAttribute('data-state');
const table = (page) =>
  page.$$eval('#flights tr', (rows) => rows.map((row) => [row.cells[0].textContent, row.cells[3].textContent]));

const FINAL_TABLE = [
  ['P519', 'cancelled'],
  ['R836', 'delayed'],
  ['T102', 'landing'],
];

const SAMPLE = [
  '2026-11-21T09:00:00Z INFO  reading /etc/app/app.toml',
  '2026-11-21T09:00:01Z INFO  listening on 127.0.0.1:8080',
  '2026-11-21T09:00:04Z DEBUG cache is warm, 312 entries',
  '2026-11-21T09:00:31Z INFO  GET /orders/8841 200 in 12 ms',
  '2026-11-21T09:00:59Z INFO  GET /orders/8842 200 in 9 ms',
  '2026-11-21T09:01:12Z WARN  slow answer from the printer, 2.4 s',
  '2026-11-21T09:01:40Z ERROR printer: connection refused',
  '2026-11-21T09:01:41Z INFO  trying the other printer',
  '2026-11-21T09:01:42Z DEBUG job 77 sent, 18 kB',
  '2026-11-21T09:02:00Z INFO  GET /a/path/that/does/not/fit/on/a/phone?with=a&query=too 200 in 11 ms',
];

describe('the pages', () => {
  let browser;
  before(async () => (browser = await launch()));
  after(() => browser.close());

  const open = async (t, url, options) => {
    const context = await newProfile(browser, options);
    t.after(() => context.close());
    const page = await context.newPage();
    page.problems = [];
    page.on('pageerror', (error) => page.problems.push(String(error)));
    await page.goto(url);
    return page;
  };

  describe('streams that end, which takes its time', { concurrency: true }, () => {
    test('the flight board is right in the end, though it was offline over the removal', async (t) => {
      const page = await open(t, pageOf('flights.html', 'flights'));
      await until('the table and a change', async () => (await table(page))[0]?.[1] === 'landing');
      assert.equal((await table(page)).length, 5);
      await page.context().setOffline(true);
      killCgi('script');
      killCgi('flights');
      await until('it is seen', async () => (await badge(page)) !== 'open');
      // Whoever starts later sees it later.
      const witness = await open(t, pageOf('flights.html', 'flights'));
      await until('the table', async () => (await table(witness)).length === 5);
      await until('the removal is past', async () => (await table(witness)).length < 5, 40_000);
      assert.equal((await table(page)).length, 5, 'offline it knows nothing of the removal');
      await page.context().setOffline(false);
      await until('it has caught up', async () => !(await table(page)).some(([flight]) => flight === 'I768'));
      await until('the end', async () => (await badge(page)) === 'finished', 40_000);
      assert.deepEqual(await table(page), FINAL_TABLE);
      assert.equal(await connectionsOf(page), 0);
      assert.deepEqual(page.problems, []);
    });

    test('Stop updates stops, and Resume updates brings what was missed', async (t) => {
      const page = await open(t, pageOf('flights.html', 'flights'));
      await until('the table', async () => (await table(page)).length === 5);
      await page.getByRole('button', { name: 'Stop updates' }).click();
      assert.equal(await badge(page), 'closed');
      assert.equal(await connectionsOf(page), 0);
      const stopped = await table(page);
      const witness = await open(t, pageOf('flights.html', 'flights'));
      await until('two changes are past', async () => (await table(witness))[0]?.[1] === 'landed');
      assert.deepEqual(await table(page), stopped);
      await page.getByRole('button', { name: 'Resume updates' }).click();
      await until('the changes', async () => (await table(page))[0]?.[1] !== stopped[0][1]);
      await until('the end', async () => (await badge(page)) === 'finished', 40_000);
      assert.deepEqual(await table(page), FINAL_TABLE);
      await page.getByRole('button', { name: 'Start again' }).click();
      await until('a new table', async () => (await table(page)).length === 5);
    });

    test('the countdown ends, and can be started again', async (t) => {
      const page = await open(t, pageOf('countdown.html', 'countdown'));
      await until('the end', async () => (await badge(page)) === 'finished', 40_000);
      assert.equal(await text(page, '.dial-number'), '0');
      assert.equal(await connectionsOf(page), 0);
      await page.getByRole('button', { name: 'Start again' }).click();
      await until('it runs', async () => Number(await text(page, '.dial-number')) > 1);
    });
  });

  test('the clock shows the server’s time and zone, and ticks', async (t) => {
    const page = await open(t, pageOf('clock.html', 'clock'));
    const first = await until('a tick', async () => {
      const time = await text(page, '.clock-time');
      return time !== '--:--:--' && time;
    });
    assert.match(first, /^\d\d:\d\d:\d\d$/);
    await until('another', async () => (await text(page, '.clock-time')) !== first);
    assert.match(await text(page, '.clock-zone'), /^UTC([+-]\d\d:\d\d)?$/);
    assert.match(await text(page, '.clock-offset'), /server|same/);
  });

  test('the pages ask for the programs that stream over the protocol they came by', async (t) => {
    const page = await open(t, address('index.html'));
    const [protocol, tail] = await page.evaluate(async (config) => {
      const [{ nextHopProtocol }] = performance.getEntriesByType('navigation');
      return [nextHopProtocol, (await import(config)).streams.tail];
    }, address('config.js'));
    assert.equal(tail, protocol === 'h2' ? '/cgi-bin/tail.cgi' : '/cgi-bin/nph-tail.cgi');
  });

  test('log: a filter hides and shows, by words and by expression', async (t) => {
    const page = await open(t, pageOf('log.html', 'tail'));
    await until('live', async () => (await badge(page)) === 'open');
    const [a, b, c] = newLines(3);
    const lines = [`${a} ERROR apple`, `${b} WARN banana`, `${c} INFO cherry`];
    appendToLog(lines);
    await until('the lines', async () => (await rows(page)).includes(lines[2]));
    const mark = a.split(' ')[0];
    const ours = async () => (await rows(page)).filter((row) => row.includes(mark));
    await page.fill('#filter', 'APPLE');
    assert.deepEqual(await ours(), [lines[0]]);
    await page.fill('#filter', '/banana|cherry$/');
    assert.deepEqual(await ours(), lines.slice(1));
    await page.fill('#filter', '/banana(/');
    assert.equal(await page.getAttribute('#filter', 'aria-invalid'), 'true');
    assert.deepEqual(await ours(), lines.slice(1), 'a bad expression changes nothing');
    const [more] = newLines(1);
    appendToLog([`${more} banana ${mark}`, `${more} apple ${mark}`]);
    await page.fill('#filter', 'banana');
    await until('new lines are filtered as well', async () => (await ours()).length === 2);
    assert.deepEqual(await ours(), [lines[1], `${more} banana ${mark}`]);
    await page.fill('#filter', '');
    await until('all', async () => (await ours()).length === 5);
    const classes = await page.$$eval('#log .row', (rows) => rows.map((row) => row.className));
    for (const level of ['error', 'warn', 'info']) assert.ok(classes.includes(`row line ${level}`), level);
  });

  test('log: paused it counts what waits, and shows it afterwards', async (t) => {
    const page = await open(t, pageOf('log.html', 'tail'));
    await until('live', async () => (await badge(page)) === 'open');
    await page.click('#pause');
    const before = await rows(page);
    const lines = newLines(25);
    appendToLog(lines);
    await until('25 wait', async () => (await text(page, '#pause')).includes('25 waiting'));
    assert.deepEqual(await rows(page), before);
    await page.click('#pause');
    await until('they are shown', async () => (await rows(page)).includes(lines[24]));
    assert.deepEqual((await rows(page)).slice(-25), lines);
    await until('nothing waits', async () => (await text(page, '#pause')) === 'Pause');
  });

  test('log: it follows the end, lets go when scrolled up, and follows again', async (t) => {
    const page = await open(t, pageOf('log.html', 'tail'));
    await until('live', async () => (await badge(page)) === 'open');
    const lines = newLines(300);
    appendToLog(lines.slice(0, 200));
    await until('the lines', async () => (await rows(page)).includes(lines[199]));
    const toEnd = () =>
      page.$eval('#log', (log) => Math.round(log.scrollHeight - log.clientHeight - log.scrollTop));
    await until('at the end', async () => (await toEnd()) < 4);
    await page.hover('#log');
    await page.mouse.wheel(0, -600);
    await until('it lets go', async () => (await page.getAttribute('#follow', 'aria-pressed')) === 'false');
    const top = await page.$eval('#log', (log) => log.scrollTop);
    appendToLog(lines.slice(200));
    await until('more lines', async () => (await rows(page)).includes(lines[299]));
    assert.equal(await page.$eval('#log', (log) => log.scrollTop), top);
    await page.click('#follow');
    await until('at the end again', async () => (await toEnd()) < 4);
  });

  test('log: of a flood the last lines are kept, and the page still answers', async (t) => {
    const page = await open(t, pageOf('log.html', 'tail'));
    await until('live', async () => (await badge(page)) === 'open');
    await page.selectOption('#limit', '500');
    const lines = newLines(30_000);
    await page.evaluate(() => {
      window.frameCount = 0;
      requestAnimationFrame(function frame() {
        window.frameCount += 1;
        requestAnimationFrame(frame);
      });
      window.drawn = [];
      new MutationObserver((records) => {
        const added = records.reduce((sum, { addedNodes }) => sum + addedNodes.length, 0);
        if (added) window.drawn.push(added);
      }).observe(document.querySelector('#log'), { childList: true });
    });
    for (let n = 0; n < lines.length; n += 500) {
      appendToLog(lines.slice(n, n + 500));
      // The page does as it is told in the middle of it.
      if (n % 5000 === 0) await page.click('#follow');
    }
    await until('the last line', async () => (await rows(page)).at(-1) === lines.at(-1), 60_000);
    assert.deepEqual(await rows(page), lines.slice(-500));
    assert.match(await text(page, '#counts'), /^30,0\d\d lines, 500 kept$/);
    // Once a frame at most, and never more lines than are kept.
    const { drawn, frameCount } = await page.evaluate(() => ({ drawn: window.drawn, frameCount: window.frameCount }));
    assert.ok(drawn.length <= frameCount + 1, `${drawn.length} times in ${frameCount} frames`);
    assert.ok(Math.max(...drawn) <= 500, `${Math.max(...drawn)} lines at once`);
  });

  test('log: a gap is a line of its own, whatever the filter', async (t) => {
    appendToLog(newLines(1));
    const url = `${stream('tail')}?lastEventId=nonsense`;
    const page = await open(t, address(`log.html?stream=${encodeURIComponent(url)}`));
    await until('the gap', () => page.locator('#log .row.gap').count());
    assert.match(await text(page, '#log .row.gap'), /^Gap: /);
    await page.fill('#filter', 'no line has this');
    await until('no lines', async () => (await rows(page)).length === 0);
    assert.equal(await page.locator('#log .row.gap').count(), 1);
  });

  test('markup in a stream is text in the page', async (t) => {
    const [mark] = newLines(1);
    const line = `${mark} <img src=x onerror="window.broken=1"><script>window.broken=1</script><b>bold</b> &amp;`;
    const page = await open(t, pageOf('log.html', 'tail'));
    await until('live', async () => (await badge(page)) === 'open');
    appendToLog([line]);
    await until('the very text', async () => (await rows(page)).includes(line));
    assert.equal(await page.locator('#log img, #log script, #log b').count(), 0);

    const board = await open(t, pageOf('flights.html', 'tail'));
    await until('live', async () => (await badge(board)) === 'open');
    const flight = { flight: line, origin: line, scheduled: line, state: line };
    appendToLog([JSON.stringify([flight])]);
    await until('a row', async () => (await table(board))[0]?.[0] === line);
    assert.deepEqual(await board.$$eval('#flights tr > *', (cells) => cells.map((cell) => cell.textContent)), [line, line, line, line]);
    assert.equal(await board.locator('#flights img, #flights script, #flights b').count(), 0);
    for (const each of [page, board]) {
      assert.equal(await each.evaluate(() => window.broken), undefined);
      assert.deepEqual(each.problems, []);
    }
  });

  for (const bad of ['javascript:alert(1)', 'data:text/event-stream,data:x', '//example.invalid/x', 'ftp://example.invalid/', 'http://']) {
    test(`?stream=${bad} is refused`, async (t) => {
      const page = await open(t, address(`log.html?stream=${encodeURIComponent(bad)}`));
      await until('it says so', async () => (await text(page, '#problem')).includes(bad));
      assert.ok(await page.locator('#problem').isVisible());
      assert.match(await text(page, '#source'), /^\/cgi-bin\/(nph-)?tail\.cgi$/);
    });
  }

  test('every page fits a phone and a desk, by day and by night', async (t) => {
    appendToLog(SAMPLE);
    for (const name of ['index', 'flights', 'countdown', 'clock', 'log']) {
      const page = await open(t, address(`${name}.html`));
      await until('something to see', () =>
        page.evaluate(() => {
          const time = document.querySelector('.clock-time');
          const dial = document.querySelector('.dial-number');
          const flights = document.querySelector('#flights');
          const log = document.querySelector('#log');
          return (
            document.querySelectorAll('[data-state="open"]').length > 0 &&
            (!time || time.textContent !== '--:--:--') &&
            (!dial || dial.textContent !== '–') &&
            (!flights || flights.childElementCount > 0) &&
            (!log || log.childElementCount > 0)
          );
        }),
      );
      await eachLook(page, (look) => shoot(page, `${name}-${look}`));
      assert.deepEqual(page.problems, []);
      await page.context().close();
    }
  });
});
