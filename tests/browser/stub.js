/**
 * A server that says what a test tells it to, and has our pages and modules: for what no
 * stream of ours does, such as falling silent.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

const TYPES = { '.js': 'text/javascript', '.html': 'text/html', '.css': 'text/css', '.svg': 'image/svg+xml' };

/**
 * @typedef {object} Request
 * @property {URL} url
 * @property {string} lastId the header's, else the query's
 * @property {(text: string) => void} say
 * @property {() => void} end
 */

/**
 * @param {Record<string, (request: Request, response: import('node:http').ServerResponse) => void>} paths
 *   what is not a file of `web/`
 */
export async function startStub(paths) {
  /** @type {Request[]} */
  const requests = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url, 'http://stub/');
    const answer = paths[url.pathname];
    if (answer) {
      const asked = {
        url,
        lastId: request.headers['last-event-id'] ?? url.searchParams.get('lastEventId') ?? '',
        say: (/** @type {string} */ text) => response.write(text),
        end: () => response.end(),
      };
      requests.push(asked);
      return answer(asked, response);
    }
    try {
      const bytes = readFileSync(fileURLToPath(new URL(`../../web${url.pathname}`, import.meta.url)));
      response.writeHead(200, { 'Content-Type': TYPES[extname(url.pathname)] ?? 'text/plain' }).end(bytes);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  return {
    base: `http://127.0.0.1:${port}/`,
    requests,
    /** @param {string} path */
    asked: (path) => requests.filter(({ url }) => url.pathname === path),
    async end() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/**
 * A stream that says this first.
 *
 * @param {string} text
 */
export const streaming = (text) => (_, response) => {
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  response.write(text);
};
