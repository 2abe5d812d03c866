import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startHarness } from '../harness.js';
import { launch } from './chromium.js';
import { startStub } from './stub.js';
import { until } from './until.js';

/** These tests have servers of their own: one that works, and some that do not. */
describe('the page that checks a server', () => {
  let browser;
  before(async () => (browser = await launch()));
  after(() => browser?.close());

  /** What the page says at its end: the summary, and a list of [what, result, remedy]. */
  const checked = async (t, base) => {
    const context = await browser.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    const problems = [];
    page.on('pageerror', (error) => problems.push(String(error)));
    await page.goto(new URL('check.html', base).href);
    await until('the end of the check', () => page.locator('#again').isVisible(), 60_000);
    assert.deepEqual(problems, []);
    const rows = await page.locator('#results tr').all();
    const results = [];
    for (const row of rows) results.push(await row.locator('td').allTextContents());
    return { state: await page.locator('#state').textContent(), results };
  };

  test('a server where everything works is told so', async (t) => {
    const harness = await startHarness(() => ({ clock: { program: 'clock' }, countdown: { program: 'countdown' } }));
    t.after(() => harness.end());
    const { state, results } = await checked(t, harness.base);
    assert.equal(state, 'everything works');
    assert.deepEqual(
      results.map(([what, result]) => [what, result]),
      [
        ['Protocol', 'http/1.1'],
        ['Events from /cgi-bin/nph-clock.cgi', 'at once'],
        ['Events from /cgi-bin/clock.cgi', 'at once'],
        ['Last-Event-ID', 'reaches the program'],
      ],
    );
  });

  test('an answer that is cut short is told, and not that of an nph- name, which may be short', async (t) => {
    const head = { 'Content-Type': 'text/event-stream' };
    const cut = (_, response) => response.writeHead(200, head).end('data: 1\n\n');
    const stub = await startStub({
      '/cgi-bin/nph-clock.cgi': cut,
      '/cgi-bin/clock.cgi': cut,
    });
    t.after(() => stub.end());
    const { results } = await checked(t, stub.base);
    assert.deepEqual(
      results.slice(1, 3).map(([, result]) => result),
      ['in short answers', 'ends early'],
    );
  });

  test('batches, a lost id, a refusal and a program that is shown are told, with what to do', async (t) => {
    const head = { 'Content-Type': 'text/event-stream' };
    const lost = (_, response) => response.writeHead(200, head).write('data: 10\n\n');
    const stub = await startStub({
      '/cgi-bin/nph-clock.cgi': (_, response) => response.writeHead(200, head).end('data: 1\n\ndata: 2\n\ndata: 3\n\n'),
      '/cgi-bin/clock.cgi': (_, response) => response.writeHead(500).end(),
      '/cgi-bin/countdown.cgi': lost,
    });
    t.after(() => stub.end());
    const { state, results } = await checked(t, stub.base);
    assert.equal(state, 'streams do not work');
    assert.deepEqual(
      results.slice(1).map(([, result]) => result),
      ['in batches', '500', 'is lost'],
    );
    for (const [what, , remedy] of results) assert.notEqual(remedy, '', what);
  });
});
