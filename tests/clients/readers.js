/**
 * The clients that people use, each behind the same face: told a URL, it writes down
 * what it is given.
 *
 * @typedef {[name: string, data: string | null, lastEventId: string]} Seen
 *
 * @typedef {object} Reader
 * @property {() => Seen[] | Promise<Seen[]>} events
 * @property {() => boolean | Promise<boolean>} hasStopped it wants no more
 * @property {() => void | Promise<void>} end
 * @property {{url: string, headers: Record<string, string>}[]} [requests] of a page
 * @property {() => number} [failures] how many of a page's requests failed
 *
 * @typedef {object} Options
 * @property {string[]} names of the events to listen for, besides `message`
 * @property {string} [page] where the page is that reads, if not at the stream's origin
 * @property {object} [init] given to the page's EventSource
 *
 * @typedef {(url: string, options: Options) => Promise<Reader>} Open
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { EventSource } from 'eventsource';
import { EventSource as EventSource3 } from 'eventsource-3';
import { events as fetchEvents } from '../../examples/fetch-reader.mjs';

const require = createRequire(import.meta.url);
const project = fileURLToPath(new URL('../..', import.meta.url));
const { SSE_TEST_PYTHON = 'python3', SSE_TEST_PROGRAMS = join(project, 'target/debug') } = process.env;
const programs = resolve(SSE_TEST_PROGRAMS);

/** Makes a page what an old browser was. Runs in the page, before anything else. */
const AGES = {
  modern: () => {},
  withoutEventSource: () => {
    delete window.EventSource;
  },
  /** Has XMLHttpRequest only, and shows nothing of an answer before 2 kB: Yaffle asks for them. */
  old: () => {
    delete window.EventSource;
    delete window.fetch;
    delete XMLHttpRequestEventTarget.prototype.ontimeout;
  },
  /** Can send no header: amvtek's puts all into the query. */
  internetExplorer8: () => {
    delete window.EventSource;
    const Request = window.XMLHttpRequest;
    Object.defineProperty(Request.prototype, 'responseType', { value: undefined });
    window.XDomainRequest = class {
      #request = new Request();
      open(method, url) {
        this.#request.onprogress = () => this.onprogress();
        this.#request.onload = () => (this.#request.status === 200 ? this.onload() : this.onerror());
        this.#request.onerror = () => this.onerror();
        this.#request.open(method, url);
      }
      send() {
        this.#request.send();
      }
      abort() {
        this.#request.abort();
      }
      get responseText() {
        return this.#request.responseText;
      }
    };
  },
};

// Their names are so alike that each is called by its author's.
export const YAFFLE = 'event-source-polyfill';
export const AMVTEK = 'eventsource-polyfill';
/** The last one for Node 18 and 20; the current one asks for 22. */
export const NODE_3 = 'eventsource 3';
export const HTTPX = 'httpx-sse';

/** The event that only tells the last id: readers that dispatch whatever has a name get it. */
const PLACE = 'place';
const file = (polyfill) =>
  require.resolve(polyfill === YAFFLE ? `${polyfill}/src/eventsource.js` : `${polyfill}/dist/eventsource.js`);

/**
 * @param {import('playwright-core').Browser} browser
 * @param {() => void} age
 * @param {string} [polyfill] its file
 * @returns {Open}
 */
const inPage = (browser, age, polyfill) => async (url, { names, page: origin = url, init }) => {
  // A profile each: a browser has six connections per host for all its pages.
  const context = await browser.newContext();
  const page = await context.newPage();
  const requests = [];
  let failures = 0;
  const isOurs = (request) => request.url().startsWith(url) && request.method() === 'GET';
  page.on('request', (request) => {
    if (isOurs(request)) requests.push({ url: request.url(), headers: request.headers() });
  });
  page.on('requestfailed', (request) => (failures += isOurs(request) ? 1 : 0));
  // One script, because the order of two would be open.
  await page.addInitScript(`(${age})();\n${polyfill ? readFileSync(polyfill, 'utf8') : ''}`);
  // A page in which nothing of ours runs; a made-up one would be no neighbour of the server's.
  await page.goto(new URL('/favicon.svg', origin).href);
  await page.evaluate(
    ({ url, names, init }) => {
      window.seen = [];
      const source = new window.EventSource(url, init);
      window.source = source;
      for (const name of ['message', ...names]) {
        source.addEventListener(name, (event) => {
          window.seen.push([event.type, event.data, event.lastEventId]);
          if (name === 'close') source.close();
        });
      }
    },
    { url, names, init },
  );
  return {
    requests,
    failures: () => failures,
    events: () => page.evaluate(() => window.seen),
    hasStopped: () => page.evaluate(() => window.source.readyState === 2),
    end: () => context.close(),
  };
};

/**
 * @param {typeof EventSource} Source
 * @returns {Open}
 */
const inNode = (Source) => async (url, { names }) => {
  const seen = [];
  const source = new Source(url);
  for (const name of ['message', ...names]) {
    source.addEventListener(name, (event) => {
      seen.push([event.type, event.data, event.lastEventId]);
      if (name === 'close') source.close();
    });
  }
  return { events: () => seen, hasStopped: () => source.readyState === 2, end: () => source.close() };
};

/** @type {Open} */
async function byFetch(url) {
  const seen = [];
  const leave = new AbortController();
  let stopped = false;
  const reading = (async () => {
    for await (const { event, data, id } of fetchEvents(url, { signal: leave.signal })) {
      seen.push([event, data, id]);
    }
    stopped = true;
  })();
  return {
    events: () => seen,
    hasStopped: () => stopped,
    async end() {
      leave.abort();
      await reading;
    },
  };
}

/**
 * @param {string} program of this folder
 * @returns {Open}
 */
const inPython = (program) => async (url) => {
  const seen = [];
  const script = fileURLToPath(new URL(program, import.meta.url));
  const python = spawn(SSE_TEST_PYTHON, [script, url], { stdio: ['ignore', 'pipe', 'inherit'] });
  createInterface({ input: python.stdout }).on('line', (line) => {
    const event = JSON.parse(line);
    if (event[0] !== PLACE) seen.push(event);
  });
  const ended = new Promise((resolve, reject) => {
    python.once('error', reject);
    python.once('exit', resolve);
  });
  return {
    events() {
      if (python.exitCode) throw new Error(`${SSE_TEST_PYTHON} ${script}: exit code ${python.exitCode}`);
      return seen;
    },
    hasStopped: () => python.exitCode === 0,
    async end() {
      python.kill();
      await ended;
    },
  };
};

/** @type {Open} */
async function bySseCat(url) {
  const seen = [];
  const cat = spawn(join(programs, 'sse-cat'), ['--json', url], { stdio: ['ignore', 'pipe', 'ignore'] });
  createInterface({ input: cat.stdout }).on('line', (line) => {
    const { event, data, id } = JSON.parse(line);
    seen.push([event, data, id]);
  });
  const ended = new Promise((resolve, reject) => {
    cat.once('error', reject);
    cat.once('exit', resolve);
  });
  return {
    events() {
      if (cat.exitCode) throw new Error(`sse-cat: exit code ${cat.exitCode}`);
      return seen;
    },
    hasStopped: () => cat.exitCode === 0,
    async end() {
      cat.kill();
      await ended;
    },
  };
}

/**
 * Others in common use, in the way of their first example: each gives every event that it
 * takes for one, whatever its name is. Each is a process of its own (others.js says why).
 *
 * @type {Record<string, (url: string) => {events: () => {name?: string, data: string}[], end: () => Promise<void>}>}
 */
export const othersInUse = Object.fromEntries([
  ...['@microsoft/fetch-event-source', 'eventsource-client', 'extended-eventsource', 'launchdarkly-eventsource'].map(
    (name) => [name, (url) => collect(process.execPath, 'others.js', name, url)],
  ),
  ['sseclient', (url) => collect(SSE_TEST_PYTHON, 'sseclient_read.py', url)],
]);

/**
 * Collects the events that a program of this folder prints.
 *
 * @param {string} interpreter
 * @param {string} program
 * @param {...string} args
 */
function collect(interpreter, program, ...args) {
  const seen = [];
  const script = fileURLToPath(new URL(program, import.meta.url));
  const child = spawn(interpreter, [script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => {
    child.once('error', resolve);
    child.once('exit', resolve);
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    const [name, data] = JSON.parse(line);
    seen.push({ name: name || undefined, data });
  });
  return {
    events: () => seen,
    async end() {
      child.kill();
      await ended;
    },
  };
}

/**
 * Those that read in a page, by name; the first one is the measure of all others.
 *
 * @param {import('playwright-core').Browser} browser
 * @returns {Record<string, Open>}
 */
export const pageReaders = (browser) => ({
  browser: inPage(browser, AGES.modern),
  [YAFFLE]: inPage(browser, AGES.withoutEventSource, file(YAFFLE)),
  [`${YAFFLE}, old browser`]: inPage(browser, AGES.old, file(YAFFLE)),
  [AMVTEK]: inPage(browser, AGES.withoutEventSource, file(AMVTEK)),
  [`${AMVTEK}, Internet Explorer 8`]: inPage(browser, AGES.internetExplorer8, file(AMVTEK)),
});

/**
 * @param {import('playwright-core').Browser} browser
 * @returns {Record<string, Open>}
 */
export const allReaders = (browser) => ({
  ...pageReaders(browser),
  eventsource: inNode(EventSource),
  [NODE_3]: inNode(EventSource3),
  [HTTPX]: inPython('read.py'),
  'fetch-reader': byFetch,
  'sse-cat': bySseCat,
});

/**
 * What eventsource-polyfill makes of an event: it trims every line, and has null for ''.
 * Nothing else may differ.
 *
 * @param {Seen} event
 * @returns {Seen}
 */
export const trimmed = ([name, data, id]) => {
  const lines = data.split('\n').map((line) => line.trim());
  return [name.trim(), lines.join('\n') || null, id];
};
