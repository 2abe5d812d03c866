import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { address, launch, newProfile } from './site.js';

/** What can be said of the modules without a stream; they run where they belong. */
describe('the modules', () => {
  let browser;
  let page;
  before(async () => {
    browser = await launch();
    page = await (await newProfile(browser)).newPage();
    await page.goto(address('favicon.svg'));
  });
  after(() => browser.close());

  /**
   * @param {string} file
   * @param {string} name
   * @param {unknown[][]} calls
   */
  const results = (file, name, calls) =>
    page.evaluate(
      async ({ module, name, calls }) => {
        const f = (await import(module))[name];
        return calls.map((args) => f(...args));
      },
      { module: address(file), name, calls },
    );

  test('the wait doubles up to 30 s, and is never less than half of that', async () => {
    const least = await results('sse-source.js', 'backoffMs', [1, 2, 3, 4, 5, 6, 7, 5000].map((n) => [n, 0]));
    assert.deepEqual(least, [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
    const most = await results('sse-source.js', 'backoffMs', [1, 5, 6, 5000].map((n) => [n, 1]));
    assert.deepEqual(most, [1000, 16_000, 30_000, 30_000]);
  });

  test('the last id goes into the query, whatever it is made of', async () => {
    const urls = await results('sse-source.js', 'resumeUrl', [
      ['http://h/a', ''],
      ['http://h/a', '10-ff'],
      ['http://h/a?b=c', 'x&y=z #é'],
    ]);
    assert.deepEqual(urls, [
      'http://h/a',
      'http://h/a?lastEventId=10-ff',
      'http://h/a?b=c&lastEventId=x%26y%3Dz%20%23%C3%A9',
    ]);
  });

  test('a history knows what came after a place, or that it does not know', async () => {
    const found = await page.evaluate(async (module) => {
      const { History } = await import(module);
      const history = new History(3, 'start');
      const event = (seq, id) => ({ seq, id, type: 'message', data: `d${seq}` });
      const ids = (seq, id) => history.after(seq, id)?.map((event) => event.id) ?? null;
      history.push(event(1, 'a'));
      history.push(event(2, 'b'));
      const young = [ids(0, 'start'), ids(0, ''), ids(1, 'a'), ids(2, 'b')];
      history.push(event(3, 'c'));
      history.push(event(4, 'd'));
      const old = [ids(0, 'start'), ids(1, 'a'), ids(2, 'b'), ids(77, 'c'), ids(2, 'other')];
      const held = [history.holds(event(4, 'd')), history.holds({ ...event(4, 'd'), data: 'x' })];
      history.break();
      return { young, old, held, broken: [ids(4, 'd'), ids(0, '')] };
    }, address('sse-tabs.js'));
    assert.deepEqual(found, {
      young: [['a', 'b'], null, ['b'], []],
      old: [null, ['b', 'c', 'd'], ['c', 'd'], ['d'], null],
      held: [true, false],
      broken: [null, null],
    });
  });

  test('the types of several streams, and the stream of a type', async () => {
    const [types] = await results('sse-streams.js', 'typesOf', [[['a', 'b'], ['x', 'b/y']]]);
    const own = (name) => ['close', 'gap', 'message', 'unavailable'].map((type) => `${name}/${type}`);
    assert.deepEqual(types, [...own('a'), 'a/x', ...own('b'), 'b/x', 'b/y']);
    assert.deepEqual(await results('sse-streams.js', 'splitType', [['a/b/c'], ['a/'], ['gap']]), [
      { stream: 'a', type: 'b/c' },
      { stream: 'a', type: '' },
      { stream: '', type: 'gap' },
    ]);
  });

  test('a stream’s part of an id is found, whatever others are beside it', async () => {
    // Written by sse-httpd.
    const [chat, log, builds] = ["0lZj!.Ci'PLp$JGaoh%", '2fFCcf0BxfQh[sPKi#)', 'EUn@K6^?mf5V0mv:u</'];
    const id = `*${chat}${log}${builds}`;
    const calls = [[id, 'chat'], [id, 'log'], [id, 'builds'], [`*${builds}`, 'builds'], [`*${builds}`, 'log'], [id, 'other']];
    assert.deepEqual(await results('sse-streams.js', 'partOf', calls), [chat, log, builds, builds, '', '']);
    const hostile = [['', 'log'], ['*', 'log'], ['12-ab', 'log'], [id.slice(0, -3), 'builds'], ['*"";\u0000é', 'log'], [id, '']];
    assert.deepEqual(await results('sse-streams.js', 'partOf', hostile), ['', '', '', '', '', '']);
  });

  test('what the tabs want together grows at once, and shrinks after a while', async () => {
    const steps = await page.evaluate(async (module) => {
      const { Union } = await import(module);
      const wish = (...streams) => ({ streams, types: streams.map((name) => `${name}/x`) });
      const union = new Union('group', wish('a'));
      return [
        union.add(wish('a', 'b')),
        union.add({ streams: ['b', 'c'], types: ['b/y', 'c/x'] }),
        union.address('http://h/d?s=old&x=1'),
        union.shrink([wish('a')], 1000),
        union.shrink([wish('a', 'b')], 9000),
        union.shrink([wish('a', 'b')], 11_000),
        union.snapshot(),
        [union.isServedBy(['a']), union.isServedBy(['b']), union.isComplete()],
        [13, 14].map((count) => union.hasRoomFor(wish('a', ...Array.from({ length: count - 2 }, (_, n) => `s${n}`)))),
      ];
    }, address('sse-streams.js'));
    assert.deepEqual(steps, [
      { streams: ['a', 'b'], types: [] },
      { streams: ['c'], types: ['b/y'] },
      'http://h/d?x=1&s=a&s=b&s=c',
      [],
      [],
      ['c'],
      { streams: ['a', 'b'], types: ['a/x', 'b/x', 'b/y'] },
      [true, false, true],
      [true, false],
    ]);
  });

  test('a history of several streams knows each by itself', async () => {
    const found = await page.evaluate(async (module) => {
      const { StreamHistory } = await import(module);
      const event = (seq, type, id = `i${seq}`) => ({ seq, type, id, data: `d${seq}` });
      const history = new StreamHistory(2);
      for (const name of ['a', 'b']) history.add(name, 0);
      for (const one of [event(1, 'b/x'), event(2, 'a/x'), event(3, 'a/x'), event(4, 'a/x')]) history.push(one);
      const seqs = (events) => events?.map(({ seq }) => seq) ?? null;
      const places = [[1, 'i1'], [3, 'i3'], [3, 'other']].map(([seq, id]) => seqs(history.after(seq, id)));
      const snapshot = () => ({ events: history.all(), ...history.knowledge() });
      const types = ['a/x', 'b/x'];
      const tab = new StreamHistory(2);
      const join = (other = tab, id = '') => {
        const { fresh, late } = other.join(snapshot(), types, id);
        return [seqs(fresh), late];
      };
      const joins = [join(), join()];
      history.push(event(5, 'b/x'));
      joins.push(join(), join(new StreamHistory(2), 'elsewhere'));
      history.remove('b');
      history.add('b', 5);
      history.push(event(6, 'b/x'));
      joins.push(join());
      return { all: seqs(history.all()), places, joins };
    }, address('sse-history.js'));
    assert.deepEqual(found, {
      all: [3, 4, 6],
      places: [null, [4], null],
      joins: [
        [[1, 3, 4], ['a']],
        [[], []],
        [[5], []],
        [[1, 3, 4, 5], ['a']],
        [[6], ['b']],
      ],
    });
  });

  test('a line’s level is where the usual logs put it', async () => {
    const lines = [
      ['2026-11-21T09:00:00Z ERROR it broke', 'error'],
      ['[Sat Nov 21 08:00:00.1 2026] [core:error] [pid 7] AH00124', 'error'],
      ['2026/11/21 08:00:00 [crit] 12#12: *1 connect() failed', 'error'],
      ['{"time":1,"level":"warn","msg":"x"}', 'warn'],
      ['level=debug msg="an ERROR was not seen"', 'error'],
      ['WARNING: low', 'warn'],
      ['time=1 level=info msg=up', 'info'],
      ['[ssl:trace3] handshake', 'debug'],
      ['10.0.0.1 - - "GET /errors HTTP/1.1" 200', ''],
      ['the TERRORS of the sea', ''],
    ];
    assert.deepEqual(
      await results('log-view.js', 'levelOf', lines.map(([line]) => [line])),
      lines.map(([, level]) => level),
    );
  });

  test('a gap is said in words', async () => {
    assert.deepEqual(
      await results('gap-words.js', 'gapWords', [[{ reason: 'truncated', bytes: 12 }], [{ reason: 'of a new kind' }]]),
      ['Gap: the file was cut short (12 bytes)', 'Gap: of a new kind'],
    );
  });
});
