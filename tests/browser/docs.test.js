/**
 * The snippets of the documentation that belong to a page: the tests in tests/docs compare
 * them with the lines here and in tests/docs/page.html.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { startHarness } from '../harness.js';
import { launch } from './chromium.js';
import { until } from './until.js';

let browser;
let harness;
before(async () => {
  harness = await startHarness((folder) => ({
    log: { program: 'tail', settings: { SSE_FILE: `${folder}/flights.jsonl` } },
    flights: {
      program: 'script',
      settings: { SSE_FILE: new URL('../../examples/flights.jsonl', import.meta.url).pathname },
    },
    publish: {
      program: 'publish',
      settings: { SSE_FILE: `${folder}/flights.jsonl`, SSE_PUBLISH_ALLOW: 'same-origin' },
    },
  }));
  browser = await launch();
});
after(async () => {
  await browser.close();
  await harness.end();
});

/** A page of these lines, at an address beside sse.js. */
async function open(t, html) {
  const page = await browser.newPage();
  t.after(() => page.close());
  const said = [];
  page.on('console', (message) => said.push(message.text()));
  page.on('pageerror', (error) => said.push(`error: ${error.message}`));
  await page.route('**/snippet.html', (route) => route.fulfill({ contentType: 'text/html; charset=utf-8', body: html }));
  await page.goto(new URL('snippet.html', harness.base).href);
  return { page, said };
}

const script = (text) => `<!doctype html><meta charset="utf-8"><script type="module">${text}</script>`;
const words = `
const show = (data) => console.log('show', data.flight ?? data.length ?? data);
const warn = (reason) => console.log('warn', reason);
const showState = (name) => console.log('state', name);
`;

test('a plain EventSource, and what send() publishes', async (t) => {
  const { said } = await open(t, readFileSync(new URL('../docs/page.html', import.meta.url), 'utf8'));
  const sender = await open(t, script(`
import { send } from './sse.js';
const id = await send('/events/publish', { event: 'say', data: { text: 'hello' } });
console.log('id', id);
await send('/events/publish', { data: 'no name' });
`));
  await until('the id', () => sender.said.some((text) => /^id \d+-/.test(text)));
  await until('the event', () => said.includes('no name'));
});

test('named events', async (t) => {
  const { said } = await open(t, script(`${words}
const events = new EventSource('/events/log?lastEventId=5-0');
events.addEventListener('update', (event) => show(JSON.parse(event.data)));
events.addEventListener('gap', (event) => warn(JSON.parse(event.data).reason));
events.addEventListener('close', () => events.close());
import { send } from './sse.js';
await send('/events/publish', { event: 'update', data: { flight: 'I768' } });
`));
  await until('the gap and the event', () => said.includes('show I768') && said.some((text) => text.startsWith('warn ')));
});

test('connect() of sse.js', async (t) => {
  const { said } = await open(t, script(`${words}
import { connect } from './sse.js';

const stream = connect('/events/flights', {
  events: ['flightStateUpdate'],
  onevent: ({ type, data, id }) => show(JSON.parse(data)),
  onstate: ({ name }) => showState(name),
  ongap: ({ reason }) => warn(reason),
  onclose: () => showState('finished'),
});
`));
  await until('the first event', () => said.includes('state open') && said.includes('show 5'));
  assert.ok(!said.some((text) => text.startsWith('error')), said.join('\n'));
});
