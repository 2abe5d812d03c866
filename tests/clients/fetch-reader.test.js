import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { describe, test } from 'node:test';
import { events } from '../../examples/fetch-reader.mjs';
import { until } from '../browser/until.js';

/** Starts a server for one test and gives its address. */
async function serve(t, answer) {
  const server = createServer(answer);
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return `http://127.0.0.1:${server.address().port}/`;
}

describe('fetch-reader', () => {
  const stream = { 'Content-Type': 'text/event-stream' };
  for (const [when, answer] of [
    ['it reads', (response) => response.writeHead(200, stream).write('retry: 60000\n\n')],
    ['it waits for an answer', () => {}],
    ['it waits to come back', (response) => response.writeHead(200, stream).end('retry: 60000\n\n')],
  ]) {
    test(`ends at once when it is told while ${when}`, async (t) => {
      let asked = 0;
      const url = await serve(t, (_, response) => {
        asked += 1;
        answer(response);
      });
      const leave = new AbortController();
      let ended = false;
      const reading = (async () => {
        for await (const event of events(url, { signal: leave.signal })) assert.fail(JSON.stringify(event));
        ended = true;
      })();
      await until('it has asked', () => asked === 1);
      leave.abort();
      await until('its end', () => ended);
      await reading;
    });
  }
});
