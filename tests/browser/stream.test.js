import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { connectIn, dataSeen, record, seenBy, stateOf } from './recorder.js';
import { appendToLog, cgiProcesses, connectionsOf, killCgi, launch, logTail, newLines, newProfile, stream, until } from './site.js';

describe('sse.js in one tab', () => {
  let browser;
  let context;
  before(async () => (browser = await launch()));
  after(() => browser.close());
  const profile = async (t) => {
    context = await newProfile(browser);
    t.after(() => context.close());
    return context;
  };

  test('a named event reaches its listener, an unnamed one the other', async (t) => {
    const page = await record(await profile(t), stream('timers'), { events: ['fiveSeconds'] });
    await until('both timers', async () => {
      const types = (await seenBy(page)).events.map((event) => event.type);
      return types.includes('message') && types.includes('fiveSeconds');
    });
    const named = (await seenBy(page)).events.find((event) => event.type === 'fiveSeconds');
    assert.deepEqual(JSON.parse(named.data), { text: 'five seconds have passed' });
    assert.notEqual(named.id, '');
  });

  test('close is told once, and no connection is left or wanted', async (t) => {
    const page = await record(await profile(t), stream('countdown'));
    await until('the end', async () => (await seenBy(page)).closes.length > 0, 40_000);
    const { events, closes, states } = await seenBy(page);
    const numbers = events.map((event) => Number(event.data));
    assert.equal(numbers.at(-1), 0);
    assert.deepEqual(numbers, numbers.map((_, n) => numbers.length - 1 - n));
    assert.equal(closes.length, 1);
    assert.equal(states.at(-1).name, 'finished');
    assert.equal(await connectionsOf(page), 0);
    await until('the lock is given back', () => hasNoLock(page));

    // Whoever comes back to a finished stream is answered 204, and stops too.
    await connectIn(page, stream('countdown'), { lastEventId: closes[0].id });
    await until('204 is understood', async () => (await stateOf(page)) === 'finished');
    const again = await seenBy(page);
    assert.deepEqual([again.events, again.closes], [[], [null]]);
    assert.equal(await connectionsOf(page), 0);
  });

  test('the CGI process is killed in mid-stream, and nothing is lost or doubled', async (t) => {
    const page = await record(await profile(t), stream('tail'));
    await until('live', async () => (await stateOf(page)) === 'open');
    const lines = newLines(60);
    const mark = lines[0].split(' ')[0];
    appendToLog(lines.slice(0, 20));
    await until('the first lines', async () => (await dataSeen(page, mark)).length === 20);
    for (const [from, to] of [[20, 40], [40, 60]]) {
      const before = new Set(cgiProcesses('tail'));
      assert.ok(killCgi('tail') > 0, 'there was a process to kill');
      await until('it is gone', () => !cgiProcesses('tail').some((pid) => before.has(pid)));
      appendToLog(lines.slice(from, to));
      await until('the next lines', async () => (await dataSeen(page, mark)).length >= to);
    }
    assert.deepEqual(await dataSeen(page, mark), lines);
  });

  test('an answer that ends an EventSource is waited out', async (t) => {
    const page = await record(await profile(t), stream('tail'));
    await until('live', async () => (await stateOf(page)) === 'open');
    const lines = newLines(10);
    const mark = lines[0].split(' ')[0];
    appendToLog(lines.slice(0, 5));
    await until('the first lines', async () => (await dataSeen(page, mark)).length === 5);

    let refusals = 0;
    const isStream = (url) => url.pathname.endsWith('tail.cgi');
    await page.route(isStream, (route) => {
      refusals += route.request().resourceType() === 'eventsource' ? 1 : 0;
      return route.fulfill({ status: 503 });
    });
    killCgi('tail');
    appendToLog(lines.slice(5));
    await until('it was refused twice', () => refusals >= 2);
    await until('and says why', async () =>
      (await seenBy(page)).states.some((state) => state.name === 'waiting' && state.status === 503),
    );
    const waiting = (await seenBy(page)).states.find((state) => state.name === 'waiting');
    assert.ok(Math.abs(waiting.retryAt - Date.now()) < 35_000);
    await page.unroute(isStream);
    await until('all lines', async () => (await dataSeen(page, mark)).length >= 10, 40_000);
    assert.deepEqual(await dataSeen(page, mark), lines);
  });

  test('a new connection is tried at once when the network is back', async (t) => {
    const context = await profile(t);
    await context.clock.install();
    const page = await record(context, stream('tail'));
    await until('live', async () => (await stateOf(page)) === 'open');
    const isStream = (url) => url.pathname.endsWith('tail.cgi');
    await page.route(isStream, (route) => route.fulfill({ status: 503 }));
    // What it waits for does not come by itself, however long it takes.
    await context.clock.pauseAt(Date.now() + 10_000);
    killCgi('tail');
    await until('it waits', async () => (await stateOf(page)) === 'waiting');
    await page.unroute(isStream);
    await page.evaluate(() => dispatchEvent(new Event('online')));
    await until('live again', async () => (await stateOf(page)) === 'open');
  });

  test('a page that was put aside goes on after its last event', async (t) => {
    const page = await record(await profile(t), stream('tail'));
    const lines = newLines(9);
    const mark = lines[0].split(' ')[0];
    await until('live', async () => (await stateOf(page)) === 'open');
    appendToLog(lines.slice(0, 3));
    await until('the first lines', async () => (await dataSeen(page, mark)).length === 3);
    await page.evaluate(() => dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true })));
    assert.equal(await connectionsOf(page), 0);
    await until('the lock is given back', () => hasNoLock(page));
    appendToLog(lines.slice(3, 6));
    await page.evaluate(() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })));
    await until('what was missed', async () => (await dataSeen(page, mark)).length === 6);
    appendToLog(lines.slice(6));
    await until('what is new', async () => (await dataSeen(page, mark)).length === 9);
    assert.deepEqual(await dataSeen(page, mark), lines);
  });

  test('a gap is told, and is not the end', async (t) => {
    appendToLog(newLines(3));
    const backlog = logTail();
    const page = await record(await profile(t), stream('tail'), { lastEventId: 'no id of ours' });
    await until('the backlog', async () => (await seenBy(page)).events.length === backlog.length);
    assert.deepEqual((await seenBy(page)).gaps.map((gap) => gap.reason), ['bad-id']);
    const lines = newLines(2);
    appendToLog(lines);
    await until('new lines', async () => (await seenBy(page)).events.length === backlog.length + 2);
    assert.deepEqual(await dataSeen(page), [...backlog, ...lines]);
  });

  test('after close() nothing more is told', async (t) => {
    const page = await record(await profile(t), stream('tail'));
    await until('live', async () => (await stateOf(page)) === 'open');
    await page.evaluate(() => window.stream.close());
    const { events } = await seenBy(page);
    appendToLog(newLines(3));
    // Another connection is the proof that the lines were there to be told.
    const witness = await record(context, stream('tail'));
    await until('a witness', async () => (await seenBy(witness)).events.length > 0);
    assert.equal((await seenBy(page)).events.length, events.length);
    assert.equal((await seenBy(page)).states.at(-1).name, 'closed');
    assert.equal(await connectionsOf(page), 0);
  });

  test('without Web Locks a tab has its own connection, and rests it while hidden', async (t) => {
    const profile = await newProfile(browser);
    t.after(() => profile.close());
    await profile.addInitScript(() => Object.defineProperty(navigator, 'locks', { value: undefined }));
    const pages = [await record(profile, stream('tail')), await record(profile, stream('tail'))];
    for (const page of pages) await until('live', async () => (await stateOf(page)) === 'open');
    assert.deepEqual(await Promise.all(pages.map(connectionsOf)), [1, 1]);

    const [page] = pages;
    const see = (state) =>
      page.evaluate((state) => {
        Object.defineProperty(document, 'visibilityState', { configurable: true, value: state });
        document.dispatchEvent(new Event('visibilitychange'));
      }, state);
    const lines = newLines(12);
    const mark = lines[0].split(' ')[0];
    appendToLog(lines.slice(0, 1));
    await until('the first line', async () => (await dataSeen(page, mark)).length === 1);
    await see('hidden');
    assert.equal(await connectionsOf(page), 0);
    appendToLog(lines.slice(1));
    await see('visible');
    await until('what was missed', async () => (await dataSeen(page, mark)).length === 12);
    assert.deepEqual(await dataSeen(page, mark), lines);
  });
});

const hasNoLock = (page) =>
  page.evaluate(async () => {
    const { held, pending } = await navigator.locks.query();
    return held.length + pending.length === 0;
  });
