import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launch } from './chromium.js';
import { startStub, streaming } from './stub.js';
import { until } from './until.js';

/** sse.js with signed links, and a server that says when they expire. */
describe('a signed link', () => {
  let browser;
  before(async () => {
    browser = await launch();
  });
  after(() => browser?.close());

  /** Valid links are those with these numbers. */
  const start = async (t, valid) => {
    const links = { valid: new Set(valid), given: 0, fails: 0 };
    const stub = await startStub({
      '/stream': (asked, response) => {
        if (!links.valid.has(asked.url.searchParams.get('t'))) return response.writeHead(403).end();
        streaming('retry: 1000\n: sse-cgi\n')(asked, response);
      },
      '/link': (_, response) => {
        if (links.fails-- > 0) return response.writeHead(500).end();
        links.given += 1;
        const number = `new${links.given}`;
        links.valid.add(number);
        response.writeHead(200).end(`/stream?e=2&p=/stream&t=${number}`);
      },
      '/page': (_, response) => response.writeHead(200, { 'Content-Type': 'text/html' }).end('<title>x</title>'),
    });
    t.after(() => stub.end());
    const context = await browser.newContext();
    t.after(() => context.close());
    return { links, stub, context };
  };

  /** A page that reads the stream; its events are in `window.got`. */
  const open = async (context, stub, link, shared = false) => {
    const page = await context.newPage();
    await page.goto(new URL('page', stub.base).href);
    await page.evaluate(
      async ({ link, shared }) => {
        const { connect } = await import('/sse.js');
        Object.assign(window, { got: [], states: [] });
        const renew = async () => {
          const answer = await fetch('/link');
          if (!answer.ok) throw new Error('no link now');
          return answer.text();
        };
        window.stream = connect(link, {
          renew,
          shared,
          onevent: ({ type, data }) => window.got.push(`${type}: ${data}`),
          onstate: ({ name }) => window.states.push(name),
        });
      },
      { link, shared },
    );
    return page;
  };
  const got = (page) => page.evaluate(() => window.got);
  const requests = (stub) => stub.asked('/stream').map(({ url, lastId }) => [url.searchParams.get('t'), lastId]);

  test('that expires is replaced before, and the stream goes on after its last event', async (t) => {
    const { stub, context } = await start(t, ['old']);
    const page = await open(context, stub, '/stream?e=1&p=/stream&t=old');
    await until('its connection', () => stub.asked('/stream').length === 1);
    stub.asked('/stream')[0].say('id: 1\ndata: a\n\n');
    await until('its event', async () => (await got(page)).length === 1);
    stub.asked('/stream')[0].say('event: expired\ndata: {"ends_in_ms":10000}\nretry: 20000\n\n');
    await until('another connection', () => stub.asked('/stream').length === 2);
    stub.asked('/stream')[1].say('id: 2\ndata: b\n\n');
    await until('the next event', async () => (await got(page)).length === 2);
    assert.deepEqual(await got(page), ['message: a', 'message: b']);
    assert.deepEqual(requests(stub), [
      ['old', ''],
      ['new1', '1'],
    ]);
  });

  test('that has expired while the page slept is replaced after the 403', async (t) => {
    const { links, stub, context } = await start(t, []);
    links.fails = 1;
    const page = await open(context, stub, '/stream?e=1&p=/stream&t=old');
    await until('a connection with another link', () => requests(stub).some(([link]) => link === 'new1'));
    stub.asked('/stream').at(-1).say('id: 1\ndata: a\n\n');
    await until('its event', async () => (await got(page)).length === 1);
    assert.equal(links.given, 1);
  });

  test('of its own has each tab, and all share one connection', async (t) => {
    const { stub, context } = await start(t, ['one', 'two']);
    const first = await open(context, stub, '/stream?e=1&p=/stream&t=one', true);
    await until('its connection', () => stub.asked('/stream').length === 1);
    const second = await open(context, stub, '/stream?e=1&p=/stream&t=two', true);
    await until('that both are open', async () =>
      (await Promise.all([first, second].map((page) => page.evaluate(() => window.states.at(-1))))).every(
        (state) => state === 'open',
      ),
    );
    stub.asked('/stream')[0].say('id: 1\ndata: a\n\n');
    await until('the event in both', async () => (await got(first)).length + (await got(second)).length === 2);
    assert.equal(stub.asked('/stream').length, 1);
  });
});
