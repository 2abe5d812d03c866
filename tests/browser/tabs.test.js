import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { dataSeen, record, seenBy, setDeaf, stateOf } from './recorder.js';
import { address, appendToLog, connectionsOf, launch, newLines, newProfile, stream, until } from './site.js';

describe('sse.js in many tabs', () => {
  let browser;
  before(async () => (browser = await launch()));
  after(() => browser.close());

  const profile = async (t) => {
    const context = await newProfile(browser);
    t.after(() => context.close());
    return context;
  };
  const openTabs = async (context, count, options) => {
    const pages = [];
    for (let n = 0; n < count; n += 1) pages.push(await record(context, stream('tail'), options));
    for (const page of pages) await until('live', async () => (await stateOf(page)) === 'open');
    return pages;
  };
  const all = async (pages, mark, count) => {
    for (const page of pages) {
      await until(`${count} lines in each tab`, async () => (await dataSeen(page, mark)).length >= count);
    }
  };

  test('six tabs with five streams each are all live on one origin', async (t) => {
    const context = await profile(t);
    const pages = [];
    for (let n = 0; n < 6; n += 1) {
      const page = await context.newPage();
      await page.goto(address('index.html'));
      pages.push(page);
    }
    const line = newLines(1);
    for (const page of pages) {
      await until('the clock ticks', () =>
        page.evaluate(() => document.querySelector('.clock-time').textContent !== '--:--:--'));
      await until('the log is live', () =>
        page.evaluate(() => document.querySelector('#log-state').dataset.state === 'open'));
      await until('there are flights', () => page.evaluate(() => document.querySelectorAll('#flights tr').length > 0));
      await until('it counts down', () =>
        page.evaluate(() => document.querySelector('.dial-number').textContent !== '–'));
      await until('timers ring', () =>
        page.evaluate(() => [...document.querySelectorAll('#timers .count')].every((count) => count.textContent !== '0')));
    }
    appendToLog(line);
    for (const page of pages) {
      await until('a new line is in every tab', () =>
        page.evaluate((line) => document.querySelector('#log').textContent.includes(line), line[0]));
    }
    const connections = await Promise.all(pages.map(connectionsOf));
    const sum = connections.reduce((a, b) => a + b);
    assert.ok(sum <= 5, `${sum} connections for five streams`);
  });

  test('the leader’s tab is closed, again and again, and nothing is lost or doubled in any', async (t) => {
    const context = await profile(t);
    let pages = await openTabs(context, 5);
    const lines = newLines(400);
    const mark = lines[0].split(' ')[0];
    let written = 0;
    // Written all the while, so that there is no quiet moment to change in.
    const writing = setInterval(() => {
      if (written < lines.length) appendToLog(lines.slice(written, (written += 2)));
    }, 15);
    t.after(() => clearInterval(writing));
    for (const at of [60, 150, 240]) {
      await until('in mid-stream', () => written >= at);
      const counts = await Promise.all(pages.map(connectionsOf));
      const leader = pages[counts.indexOf(1)];
      if (!leader) throw new Error(`no tab has the connection: ${counts}`);
      await leader.close();
      pages = pages.filter((page) => page !== leader);
      await until('another takes over', async () =>
        (await Promise.all(pages.map(connectionsOf))).includes(1));
    }
    await all(pages, mark, lines.length);
    for (const page of pages) {
      assert.deepEqual(await dataSeen(page, mark), lines);
      assert.deepEqual((await seenBy(page)).gaps, []);
    }
    const counts = await Promise.all(pages.map(connectionsOf));
    assert.equal(counts.reduce((a, b) => a + b), 1);
  });

  test('the lock is stolen in mid-stream, again and again, and nothing is lost or doubled in any', async (t) => {
    const pages = await openTabs(await profile(t), 4);
    const lines = newLines(600);
    const mark = lines[0].split(' ')[0];
    let written = 0;
    const writing = setInterval(() => {
      if (written < lines.length) appendToLog(lines.slice(written, (written += 2)));
    }, 10);
    t.after(() => clearInterval(writing));
    for (let thefts = 1; thefts <= 8; thefts += 1) {
      await until('in mid-stream', () => written >= thefts * 60);
      await pages[thefts % 4].evaluate(async () => {
        const { held } = await navigator.locks.query();
        await navigator.locks.request(held[0].name, { steal: true }, () => {});
      });
      await until('one of them leads', async () => {
        const counts = await Promise.all(pages.map(connectionsOf));
        return counts.reduce((a, b) => a + b) === 1;
      });
    }
    await all(pages, mark, lines.length);
    for (const page of pages) {
      assert.deepEqual(await dataSeen(page, mark), lines);
      assert.deepEqual((await seenBy(page)).gaps, []);
    }
  });

  test('the last words of a leader reach one tab and not the next leader, and nothing is lost or doubled', async (t) => {
    const [leader, next, other] = await openTabs(await profile(t), 3);
    const lines = newLines(30);
    const mark = lines[0].split(' ')[0];
    appendToLog(lines.slice(0, 10));
    await all([leader, next, other], mark, 10);
    await setDeaf(next, true);
    appendToLog(lines.slice(10, 20));
    await all([leader, other], mark, 20);
    assert.equal((await dataSeen(next, mark)).length, 10);
    await leader.close();
    await all([next], mark, 20);
    assert.equal(await connectionsOf(next), 1);
    await setDeaf(next, false);
    appendToLog(lines.slice(20));
    await all([next, other], mark, 30);
    for (const page of [next, other]) assert.deepEqual(await dataSeen(page, mark), lines);
  });

  test('a tab that missed something asks for it', async (t) => {
    const pages = await openTabs(await profile(t), 3);
    const lines = newLines(30);
    const mark = lines[0].split(' ')[0];
    appendToLog(lines.slice(0, 10));
    await all(pages, mark, 10);
    await setDeaf(pages[2], true);
    appendToLog(lines.slice(10, 20));
    await all(pages.slice(0, 2), mark, 20);
    await setDeaf(pages[2], false);
    appendToLog(lines.slice(20));
    await all(pages, mark, 30);
    for (const page of pages) assert.deepEqual(await dataSeen(page, mark), lines);
  });

  test('a tab that joins late sees what the first one saw', async (t) => {
    const context = await profile(t);
    const [first] = await openTabs(context, 1);
    const lines = newLines(40);
    const mark = lines[0].split(' ')[0];
    appendToLog(lines);
    await all([first], mark, 40);
    const late = await record(context, stream('tail'));
    await all([late], mark, 40);
    assert.deepEqual(await dataSeen(late), await dataSeen(first));
    assert.deepEqual((await seenBy(late)).gaps, []);
    assert.equal(await connectionsOf(late), 0);
  });

  test('a tab that joins too late is told that it is so', async (t) => {
    const context = await profile(t);
    const [first] = await openTabs(context, 1, { keep: 5 });
    const lines = newLines(40);
    const mark = lines[0].split(' ')[0];
    appendToLog(lines);
    await all([first], mark, 40);
    const late = await record(context, stream('tail'), { keep: 5 });
    await all([late], mark, 5);
    assert.deepEqual(await dataSeen(late), lines.slice(-5));
    assert.deepEqual((await seenBy(late)).gaps, [{ reason: 'late' }]);
  });

  test('a tab that was put aside while others went on is given what it missed', async (t) => {
    const context = await profile(t);
    const pages = await openTabs(context, 3);
    const lines = newLines(30);
    const mark = lines[0].split(' ')[0];
    appendToLog(lines.slice(0, 10));
    await all(pages, mark, 10);
    const counts = await Promise.all(pages.map(connectionsOf));
    // The leader and one of its followers.
    const aside = [pages[counts.indexOf(1)], pages[counts.indexOf(0)]];
    const turn = (page, type) =>
      page.evaluate((type) => dispatchEvent(new PageTransitionEvent(type, { persisted: true })), type);
    for (const page of aside) await turn(page, 'pagehide');
    appendToLog(lines.slice(10, 20));
    await all(pages.filter((page) => !aside.includes(page)), mark, 20);
    for (const page of aside) await turn(page, 'pageshow');
    appendToLog(lines.slice(20));
    await all(pages, mark, 30);
    for (const page of pages) assert.deepEqual(await dataSeen(page, mark), lines);
  });

  describe('what takes its time', { concurrency: true }, () => {
    test('the end of a stream is the end in every tab', async (t) => {
      const context = await profile(t);
      const pages = [];
      for (let n = 0; n < 3; n += 1) pages.push(await record(context, stream('countdown')));
      for (const page of pages) {
        await until('the end', async () => (await seenBy(page)).closes.length > 0, 40_000);
        assert.equal((await dataSeen(page)).at(-1), '0');
      }
      const first = await dataSeen(pages[0]);
      for (const page of pages) {
        assert.deepEqual(await dataSeen(page), first);
        assert.equal((await seenBy(page)).closes.length, 1);
        assert.equal(await connectionsOf(page), 0);
      }
    });

    test('a leader that hangs loses the stream to another tab, and doubles nothing when it wakes', async (t) => {
      const context = await profile(t);
      const pages = await openTabs(context, 3);
      const counts = await Promise.all(pages.map(connectionsOf));
      const leader = pages[counts.indexOf(1)];
      const others = pages.filter((page) => page !== leader);
      const lines = newLines(20);
      const mark = lines[0].split(' ')[0];
      // A dialog that nobody answers stops all that the page would do.
      const dialog = leader.waitForEvent('dialog');
      const blocked = leader.evaluate(() => alert('nothing moves'));
      const open = await dialog;
      appendToLog(lines.slice(0, 10));
      for (const page of others) {
        await until('they find another way', async () => (await dataSeen(page, mark)).length >= 10, 60_000);
      }
      await open.accept();
      await blocked;
      appendToLog(lines.slice(10));
      await all(pages, mark, 20);
      for (const page of pages) assert.deepEqual(await dataSeen(page, mark), lines);
      await until('one connection in all', async () => {
        const counts = await Promise.all(pages.map(connectionsOf));
        return counts.reduce((a, b) => a + b) === 1;
      });
    });
  });
});
