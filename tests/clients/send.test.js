import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { launch } from '../browser/chromium.js';
import { until } from '../browser/until.js';
import { startHarness } from '../harness.js';

/** One file, with a way down and several ways up. */
const streams = (folder) => {
  const file = join(folder, 'chat.jsonl');
  writeFileSync(file, '');
  const token = join(folder, 'token');
  writeFileSync(token, 's3cret\n');
  const up = (settings) => ({ program: 'publish', settings: { SSE_FILE: file, ...settings } });
  return {
    tail: { program: 'tail', settings: { SSE_FILE: file, SSE_BACKLOG: '1000' } },
    publish: up({ SSE_PUBLISH_ALLOW: 'same-origin', SSE_PUBLISH_MAX: '1K' }),
    closed: up({}),
    guarded: up({ SSE_PUBLISH_ALLOW: 'token', SSE_PUBLISH_TOKEN_FILE: token }),
    slow: up({ SSE_PUBLISH_ALLOW: 'same-origin', SSE_PUBLISH_RATE: '1/m' }),
  };
};

describe('send()', () => {
  let browser;
  let harness;
  before(async () => {
    browser = await launch();
    harness = await startHarness(streams);
  });
  after(async () => {
    await browser?.close();
    await harness?.end();
  });

  const url = (name) => new URL(`/cgi-bin/${name}.cgi`, harness.base).href;
  const module = () => new URL('sse.js', harness.base).href;

  /** A page in a profile of its own, in which only what a test puts there runs. */
  async function newPage(t, origin = harness.base) {
    const context = await browser.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    await page.goto(new URL('favicon.svg', origin).href);
    return page;
  }

  const send = (page, ...args) =>
    page.evaluate(
      async ({ module, args }) => {
        const { send, SendError } = await import(module);
        try {
          return { id: await send(...args) };
        } catch (error) {
          const { name, message, status, mayBePublished, retryAfterMs } = error;
          return { isOurs: error instanceof SendError, name, message, status, mayBePublished, retryAfterMs };
        }
      },
      { module: module(), args },
    );

  test('resolves to the id that the event has when it comes down', async (t) => {
    const page = await newPage(t);
    await page.evaluate(
      async ({ module, url }) => {
        const { connect } = await import(module);
        window.seen = [];
        connect(url, { events: ['say'], onevent: (event) => window.seen.push(event) });
      },
      { module: module(), url: url('tail') },
    );
    const data = { text: 'žluť\n<b>\u2028', n: [1, null] };
    const { id } = await send(page, url('publish'), { event: 'say', data });
    assert.ok(id);
    const [event] = await until('the event', async () => {
      const seen = await page.evaluate(() => window.seen);
      return seen.length > 0 && seen;
    });
    assert.equal(event.type, 'say');
    assert.equal(event.id, id);
    assert.deepEqual(JSON.parse(event.data), data);
  });

  test('a page knows its own events, also when they overtake the answer', async (t) => {
    const [ours, theirs] = [await newPage(t), await newPage(t)];
    let answerNow;
    const heard = new Promise((resolve) => (answerNow = resolve));
    await ours.route(url('publish'), async (route) => {
      const response = await route.fetch();
      await heard;
      await route.fulfill({ response });
    });
    const listen = (page) =>
      page.evaluate(
        async ({ module, tail, publish }) => {
          const { connect, Sender } = await import(module);
          window.sender = new Sender(publish);
          window.known = [];
          window.count = 0;
          connect(tail, {
            events: ['mine'],
            async onevent({ type, id, data }) {
              if (type !== 'mine') return;
              window.count += 1;
              window.known.push([data, await window.sender.isOwn(id)]);
            },
          });
        },
        { module: module(), tail: url('tail'), publish: url('publish') },
      );
    await Promise.all([listen(ours), listen(theirs)]);
    await ours.evaluate(() => void window.sender.send({ event: 'mine', data: 'a' }));
    await until('it has come down', () => ours.evaluate(() => window.count === 1));
    assert.deepEqual(await ours.evaluate(() => window.known), []);
    answerNow();
    for (const [page, expected] of [[ours, true], [theirs, false]]) {
      await until('it is known', () => page.evaluate(() => window.known.length === 1));
      assert.deepEqual(await page.evaluate(() => window.known), [['a', expected]]);
    }
  });

  test('rejects with what the server says', async (t) => {
    const page = await newPage(t);
    const before = readFileSync(join(harness.folder, 'chat.jsonl'), 'utf8');
    const refused = { isOurs: true, name: 'SendError', mayBePublished: false, retryAfterMs: undefined };
    for (const [name, message, expected] of [
      ['closed', { data: 1 }, { status: 403, message: 'not allowed' }],
      ['guarded', { data: 1 }, { status: 401, message: 'a token is needed' }],
      ['publish', { data: 'x'.repeat(2000) }, { status: 413, message: 'larger than 1024 bytes' }],
      ['publish', {}, { status: 400, message: 'neither event nor data' }],
      ['missing', { data: 1 }, { status: 404, message: 'HTTP 404' }],
    ]) {
      assert.deepEqual(await send(page, url(name), message), { ...refused, ...expected }, name);
    }
    assert.equal(readFileSync(join(harness.folder, 'chat.jsonl'), 'utf8'), before);
  });

  test('tells when to come back', async (t) => {
    const page = await newPage(t);
    let last;
    for (let count = 0; count < 3 && !(last?.status === 429); count += 1) {
      last = await send(page, url('slow'), { data: 1 });
    }
    assert.equal(last.status, 429);
    assert.ok(last.retryAfterMs >= 1000, String(last.retryAfterMs));
  });

  test('says that nobody knows, where there is no answer', async (t) => {
    const page = await newPage(t);
    await page.route(url('publish'), (route) => route.abort());
    const lost = await send(page, url('publish'), { data: 1 });
    assert.deepEqual([lost.isOurs, lost.status, lost.mayBePublished], [true, 0, true]);

    await page.unroute(url('publish'));
    await page.route(url('publish'), () => {});
    const late = await send(page, url('publish'), { data: 1 }, { timeoutMs: 100 });
    assert.deepEqual([late.message, late.status], ['no answer in time', 0]);
    const aborted = await page.evaluate(
      async ({ module, url }) => {
        const { send } = await import(module);
        const signal = AbortSignal.abort(new Error('the page said so'));
        return send(url, { data: 1 }, { signal }).catch((error) => error.message);
      },
      { module: module(), url: url('publish') },
    );
    assert.equal(aborted, 'the page said so');
  });

  test('sends the token and other fields', async (t) => {
    const page = await newPage(t);
    const asked = page.waitForRequest(url('guarded'));
    await send(page, url('guarded'), { data: 1 }, { token: 's3cret', headers: { 'X-Session-ID': 'abc' } });
    const { authorization, 'x-session-id': session, 'content-type': type } = (await asked).headers();
    assert.deepEqual([authorization, session, type], ['Bearer s3cret', 'abc', 'application/json']);
  });

  test("another site's page publishes nothing", async (t) => {
    const page = await newPage(t, harness.base.replace('127.0.0.1', 'localhost'));
    const before = readFileSync(join(harness.folder, 'chat.jsonl'), 'utf8');
    // A page may send this without asking, and sees nothing of the answer.
    const post = (url) => fetch(url, { method: 'POST', mode: 'no-cors', body: 'x' }).then(({ type }) => type);
    const answered = page.waitForResponse(url('publish'));
    assert.equal(await page.evaluate(post, url('publish')), 'opaque');
    assert.equal((await answered).status(), 403);
    assert.equal(readFileSync(join(harness.folder, 'chat.jsonl'), 'utf8'), before);
  });
});
