import assert from 'node:assert/strict';
import { appendFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startHarness } from '../harness.js';
import { launch } from './chromium.js';
import { startStub, streaming } from './stub.js';
import { until } from './until.js';

/** These tests have a server of their own, with files that are not there or cannot be read. */
describe('the log viewer without a log', () => {
  let browser;
  let harness;
  before(async () => {
    browser = await launch();
    harness = await startHarness((folder) => ({
      missing: { program: 'tail', settings: { SSE_FILE: join(folder, 'missing.log'), SSE_HEARTBEAT: '1s' } },
      // Whoever runs the tests, root too, cannot read this one.
      unreadable: { program: 'tail', settings: { SSE_FILE: join(folder, 'unreadable.log'), SSE_RETRY: '1s' } },
    }));
    const loop = join(harness.folder, 'unreadable.log');
    symlinkSync(loop, loop);
  });
  after(async () => {
    await browser?.close();
    await harness?.end();
  });

  const open = async (t, stream, base = harness.base) => {
    const context = await browser.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    page.problems = [];
    page.on('pageerror', (error) => page.problems.push(String(error)));
    await page.goto(new URL(`log.html?stream=${encodeURIComponent(stream)}`, base).href);
    return page;
  };
  const badge = (page) => page.locator('#state').textContent();
  const says = (page, words) => until(words, async () => (await badge(page)).includes(words));
  const rows = (page, kind) => page.locator(`#log .row.${kind}`).allTextContents();

  test('a missing file is reported, and its lines come when it does', async (t) => {
    const file = join(harness.folder, 'missing.log');
    for (const stream of ['/cgi-bin/nph-missing.cgi', '/events/missing']) {
      const page = await open(t, stream);
      await says(page, 'the file does not exist yet');
      assert.deepEqual(await rows(page, 'note'), ['Unavailable: the file does not exist yet']);
      writeFileSync(file, 'first\n');
      await until('its line', async () => (await rows(page, 'line')).includes('first'));
      assert.equal(await badge(page), 'live');
      assert.deepEqual(page.problems, []);
      rmSync(file);
    }
  });

  test('a file that cannot be read is reported once, and read when it can be', async (t) => {
    const file = join(harness.folder, 'unreadable.log');
    for (const stream of ['/cgi-bin/nph-unreadable.cgi', '/events/unreadable']) {
      const page = await open(t, stream);
      await says(page, 'the file cannot be read now');
      // It has come again, and been told the same.
      const attempts = () => harness.log().split(stream).length;
      const before = attempts();
      await until('another attempt', () => attempts() > before);
      assert.deepEqual(await rows(page, 'note'), ['Unavailable: the file cannot be read now']);
      assert.equal(await badge(page), 'the file cannot be read now');
      rmSync(file);
      appendFileSync(file, 'first\n');
      await until('its line', async () => (await rows(page, 'line')).includes('first'));
      assert.equal(await badge(page), 'live');
      rmSync(file);
      symlinkSync(file, file);
    }
  });

  test('a login page is reported as one', async (t) => {
    const stub = await startStub({
      '/stream': (_, response) => response.writeHead(302, { Location: '/login' }).end(),
      '/login': (_, response) => response.writeHead(200, { 'Content-Type': 'text/html' }).end('<form>'),
    });
    t.after(() => stub.end());
    const page = await open(t, '/stream', stub.base);
    await says(page, 'a login page instead of the stream, trying again in');
    assert.deepEqual(await rows(page, 'note'), ['Unavailable: a login page instead of the stream']);
  });

  test('a stream that says nothing is live', async (t) => {
    const stub = await startStub({ '/stream': streaming('retry: 1000\n: sse-cgi\n') });
    t.after(() => stub.end());
    const page = await open(t, '/stream', stub.base);
    await says(page, 'live');
  });
});
