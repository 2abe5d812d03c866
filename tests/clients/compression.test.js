import assert from 'node:assert/strict';
import { once } from 'node:events';
import { appendFileSync, writeFileSync } from 'node:fs';
import { createServer, get } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import compression from 'compression';
import express from 'express';
import { until } from '../browser/until.js';
import { startHarness } from '../harness.js';

describe('a proxy that compresses', () => {
  let harness, file, proxy;
  before(async () => {
    harness = await startHarness((folder) => {
      file = join(folder, 'a.log');
      writeFileSync(file, 'before\n');
      return { tail: { program: 'tail', settings: { SSE_FILE: file } } };
    });
    // As the development servers of webpack and create-react-app are made.
    const app = express();
    app.use(compression({ threshold: 0 }));
    app.use((request, response) => {
      const passed = get(new URL(request.url, harness.base), { headers: request.headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      response.on('close', () => passed.destroy());
    });
    proxy = createServer(app);
    await once(proxy.listen(0, '127.0.0.1'), 'listening');
  });
  after(async () => {
    proxy?.closeAllConnections();
    proxy?.close();
    await harness?.end();
  });

  for (const program of ['cgi-bin/nph-tail.cgi', 'cgi-bin/tail.cgi', 'events/tail']) {
    test(`passes events on at once: ${program}`, async (t) => {
      const url = `http://127.0.0.1:${proxy.address().port}/${program}`;
      const request = get(url, { headers: { 'Accept-Encoding': 'gzip' } });
      t.after(() => request.destroy());
      const [answer] = await once(request, 'response');
      assert.equal(answer.headers['content-encoding'], undefined);
      assert.equal(answer.headers['content-type'], 'text/event-stream; charset=utf-8');
      let text = '';
      answer.setEncoding('utf8').on('data', (part) => (text += part)).on('error', () => {});
      await until('what was there', () => text.includes('data: before\n\n'));
      appendFileSync(file, `${program}\n`);
      await until('the new line', () => text.includes(`data: ${program}\n\n`));
    });
  }
});
