import assert from 'node:assert/strict';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { launch } from '../browser/chromium.js';
import { isDescendant, killAll, processes } from '../browser/processes.js';
import { until } from '../browser/until.js';
import { startHarness } from '../harness.js';
import { AMVTEK, YAFFLE, allReaders, othersInUse, pageReaders, trimmed } from './readers.js';

const SCRIPT = [
  [undefined, 'plain'],
  ['named', 'one\ntwo\n\nfour'],
  ['empty', ''],
  ['unicode', 'žluťoučký kůň, 日本語, 🛬, e\u0301'],
  ['událost', 'a name can be any text'],
  ['two words', 'also two'],
  ['separators', 'a\u2028b\u2029c\u0085d\u000be\u000cf'],
  ['spaces', '   three before, two after  '],
  ['spaces', '  \n two lines\u00a0\n\t'],
  ['colon', ': no comment'],
  ['colon', 'data: no field\nid: 1\nretry: 1\nevent: x'],
  ['ends', 'CR\rCRLF\r\nLF\nand an end\n'],
  ['mark', '\ufeffno byte order mark'],
  ['long', 'x'.repeat(200_000)],
];
const names = [...new Set(SCRIPT.map(([name]) => name).filter(Boolean)), 'update', 'close', 'gap', 'invalid'];

/** Every stream has one file at most: NAME.log, NAME.jsonl. */
const streams = (folder) => {
  const script = SCRIPT.map(([event, data]) => JSON.stringify({ after: '0s', event, data }));
  writeFileSync(join(folder, 'script.jsonl'), `${script.join('\n')}\n{"after":"300ms","data":"late"}\n`);
  const tail = (file, settings) => {
    writeFileSync(join(folder, file), '');
    return { program: 'tail', settings: { SSE_FILE: join(folder, file), SSE_RETRY: '1s', ...settings } };
  };
  return {
    countdown: { program: 'countdown', settings: { SSE_COUNT: '5', SSE_INTERVAL: '200ms', SSE_RETRY: '1s' } },
    script: { program: 'script', settings: { SSE_FILE: join(folder, 'script.jsonl'), SSE_RETRY: '1s' } },
    lines: tail('lines.log'),
    jsonl: tail('jsonl.jsonl'),
    news: tail('news.log', { SSE_BACKLOG: '0' }),
    quiet: tail('quiet.log', { SSE_BACKLOG: '0' }),
    history: tail('history.log', { SSE_BACKLOG: '1000' }),
  };
};

let browser;
let harness;
const servers = [];
before(async () => {
  browser = await launch();
  harness = await startHarness(streams);
  servers.push(harness);
});
after(async () => {
  await browser?.close();
  await Promise.all(servers.map((server) => server.end()));
});

const url = (stream, query = '', server = harness) =>
  new URL(`/cgi-bin/nph-${stream}.cgi${query}`, server.base).href;
const append = (file, text, server = harness) => appendFileSync(join(server.folder, file), text);

/** The running programs that `server` started for this one. */
const running = (program, server = harness) =>
  processes(({ pid, executable }) => basename(executable) === program && isDescendant(pid, server.pid));

/** Kills them all; their readers come back within 1.5 s, so what is written at once awaits them. */
function cut(count, server = harness) {
  assert.equal(killAll(running('nph-tail', server)), count);
}

/** Opens a stream with each; they are ended with the test. */
async function openEach(t, table, address, options = {}) {
  const opened = {};
  t.after(async () => {
    await Promise.all(Object.values(opened).map((reader) => reader.end()));
    // A server sees by its next writes that a reader has left; the next test cannot wait.
    for (const server of servers) killAll(running('nph-tail', server));
  });
  const open = async ([name, reader]) => (opened[name] = await reader(address, { names, ...options }));
  await Promise.all(Object.entries(table).map(open));
  // In the table's order, not in that of opening.
  return Object.fromEntries(Object.keys(table).map((name) => [name, opened[name]]));
}

const each = async (opened, condition, what) => {
  for (const [name, reader] of Object.entries(opened)) {
    await until(`${name}: ${what}`, () => condition(reader));
  }
};
const haveSeen = (opened, count) =>
  each(opened, async (reader) => (await reader.events()).length >= count, `${count} events`);

/**
 * That all have seen what the browser has, which is this.
 *
 * @param {[name: string | undefined, data: string][]} expected
 * @returns {Promise<import('./readers.js').Seen[]>}
 */
async function agree({ browser: measure, ...others }, expected) {
  const seen = await measure.events();
  assert.deepEqual(
    seen.map(([name, data]) => [name, data]),
    expected.map(([name = 'message', data]) => [name, data]),
  );
  for (const [name, reader] of Object.entries(others)) {
    const wanted = name.startsWith(AMVTEK) ? seen.map(trimmed) : seen;
    assert.deepEqual(await reader.events(), wanted, name);
  }
  return seen;
}

describe('all read what a browser reads', () => {
  test('a script with whatever text can hold', async (t) => {
    const start = Date.now();
    const opened = await openEach(t, allReaders(browser), url('script', `?lastEventId=${start}-0-0`));
    // All of it is one stream, as if each had been there from its start.
    await haveSeen(opened, SCRIPT.length + 2);
    const standard = (data) => data.replace(/\r\n?/g, '\n');
    const expected = SCRIPT.map(([name, data]) => [name, standard(data)]);
    const seen = await agree(opened, [...expected, [undefined, 'late'], ['close', '']]);
    const ids = SCRIPT.map((_, index) => `${start}-0-${index + 1}`);
    assert.deepEqual(seen.map(([, , id]) => id), [...ids, `${start}-300-${SCRIPT.length + 1}`, `${start}-end`]);
  });

  test('a countdown, and all of them stop at its close', async (t) => {
    const start = Date.now();
    const opened = await openEach(t, allReaders(browser), url('countdown', `?lastEventId=${start}-6`));
    await haveSeen(opened, 7);
    await each(opened, (reader) => reader.hasStopped(), 'stops');
    const seen = await agree(opened, [...[5, 4, 3, 2, 1, 0].map((n) => [undefined, String(n)]), ['close', '']]);
    assert.deepEqual(seen.map(([, , id]) => id), [5, 4, 3, 2, 1, 0, 'end'].map((n) => `${start}-${n}`));
    await until('no program is left', () => running('nph-countdown').length === 0);
  });

  test('that a stream is finished, which stops all of them', async (t) => {
    const opened = await openEach(t, allReaders(browser), url('countdown', `?lastEventId=${Date.now()}-end`));
    await each(opened, (reader) => reader.hasStopped(), 'stops');
    await agree(opened, []);
  });

  const LINES = ['plain', '', '   three before, two after  ', ': no comment', 'žluť\u2028oučký 🛬', 'data: x'];
  const RECORDS = [
    ['{"event":"update","data":{"flight":"I768","state":"landed"}}', 'update', '{"flight":"I768","state":"landed"}'],
    ['{"data":"two\\nlines"}', undefined, 'two\nlines'],
    ['{"event":"empty","data":""}', 'empty', ''],
    ['no object', 'invalid', 'no object'],
    ['{"event":"spaces","data":"  \\u2028 x "}', 'spaces', '  \u2028 x '],
  ];
  for (const [stream, file, records] of [
    ['lines', 'lines.log', LINES.map((line) => [line, undefined, line])],
    ['jsonl', 'jsonl.jsonl', RECORDS],
  ]) {
    test(`a log in ${stream}, with its programs killed twice in mid-stream`, async (t) => {
      const write = () => append(file, records.map(([record]) => `${record}\n`).join(''));
      write();
      const opened = await openEach(t, allReaders(browser), url(stream));
      const count = Object.keys(opened).length;
      await haveSeen(opened, records.length);
      write();
      await haveSeen(opened, 2 * records.length);
      cut(count);
      write();
      await haveSeen(opened, 3 * records.length);
      cut(count);
      write();
      await haveSeen(opened, 4 * records.length);

      const expected = records.map(([, name, data]) => [name, data]);
      const seen = await agree(opened, [...expected, ...expected, ...expected, ...expected]);
      const ids = seen.map(([, , id]) => id);
      assert.equal(new Set(ids).size, ids.length);
      comeBackWith(opened, ids[2 * records.length - 1]);
    });
  }

  /** Each polyfill says its own way where it was. */
  function comeBackWith(opened, id) {
    const second = (name) => {
      const { url, headers } = opened[name].requests[1];
      const { searchParams } = new URL(url);
      return { id: headers['last-event-id'], ...Object.fromEntries(searchParams) };
    };
    assert.deepEqual(second(YAFFLE), { id: undefined, lastEventId: id });
    assert.deepEqual(second(`${YAFFLE}, old browser`), { id: undefined, lastEventId: id, padding: 'true' });
    assert.deepEqual(second(AMVTEK), { id, evs_buffer_size_limit: '262144' });
    assert.deepEqual(second(`${AMVTEK}, Internet Explorer 8`), {
      id: undefined,
      evs_last_event_id: id,
      evs_buffer_size_limit: '262144',
      evs_preamble: '2056',
    });
  }
});

describe('what they ask for', () => {
  test('evs_buffer_size_limit ends the stream again and again, and nothing is lost or doubled', async (t) => {
    const lines = (from) => Array.from({ length: 300 }, (_, n) => `line ${from + n} ${'x'.repeat(1000)}`);
    append('history.log', `${lines(0).join('\n')}\n`);
    const all = pageReaders(browser);
    const table = { browser: all.browser, [AMVTEK]: all[AMVTEK] };
    const opened = await openEach(t, table, url('history'), { init: { bufferSizeLimit: 80_000 } });
    await haveSeen(opened, 300);
    append('history.log', `${lines(300).join('\n')}\n`);
    await haveSeen(opened, 600);
    await agree(opened, [...lines(0), ...lines(300)].map((line) => [undefined, line]));
    const { requests } = opened[AMVTEK];
    assert.ok(requests.length > 5, `${requests.length} requests`);
    assert.ok(requests.every(({ url }) => new URL(url).searchParams.get('evs_buffer_size_limit') === '80000'));
    assert.equal(opened.browser.requests.length, 1);
  });

  for (const [query, least, most] of [['padding=true', 2048, 2100], ['evs_preamble=2056', 2056, 2108]]) {
    test(`${query} comes as a comment before anything is said`, async () => {
      const response = await fetch(url('countdown', `?${query}`));
      let text = '';
      for await (const part of response.body) {
        text += Buffer.from(part).toString();
        if (text.includes('data:')) break;
      }
      const [before] = text.split(/^id:/m);
      assert.ok(before.length >= least && before.length <= most, `${before.length} bytes: ${before}`);
      assert.match(before, /^(retry: \d+\n|:.*\n)+$/);
    });
  }
});

describe('a reader that is cut off before its first event', () => {
  // Whatever it has to say at first is said before it sleeps.
  const hasSpoken = (pid) => {
    try {
      return / S /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    } catch {
      return false;
    }
  };
  const allHaveSpoken = (count) => () => {
    const pids = running('nph-tail');
    return pids.length === count && pids.every(hasSpoken);
  };

  test('misses nothing', async (t) => {
    const opened = await openEach(t, allReaders(browser), url('news'));
    const count = Object.keys(opened).length;
    await until('all have been told where they are', allHaveSpoken(count));
    cut(count);
    append('news.log', 'while they were away\n');
    await until('all are back', allHaveSpoken(count));
    append('news.log', 'afterwards\n');
    const afterwards = (events) => events.some(([, data]) => data === 'afterwards');
    await each(opened, async (reader) => afterwards(await reader.events()), 'the second line');

    await agree(opened, [[undefined, 'while they were away'], [undefined, 'afterwards']]);
  });

  /** What each gets of the event that tells the position. */
  const PLACE = [{ name: 'place', data: '{}' }];
  const GETS = {
    '@microsoft/fetch-event-source': PLACE,
    'eventsource-client': PLACE,
    'extended-eventsource': [],
    'launchdarkly-eventsource': [],
    sseclient: PLACE,
  };
  for (const [name, open] of Object.entries(othersInUse)) {
    test(`is not told an empty message: ${name}`, async (t) => {
      const reader = open(url('quiet'));
      t.after(async () => {
        await reader.end();
        await until('it has left', () => killAll(running('nph-tail')) === 0);
      });
      await until('it has been told where it is', () => running('nph-tail').some(hasSpoken));
      const isFirst = ({ data }) => data === '{"first":1}';
      // More than once: the program that has spoken may be that of the reader before.
      await until('the line', () => {
        append('quiet.log', '{"first":1}\n');
        return reader.events().some(isFirst);
      });
      const before = reader.events().filter((event) => !isFirst(event));
      assert.deepEqual(before, GETS[name]);
      for (const { data } of reader.events()) JSON.parse(data);
    });
  }
});

describe('across origins', () => {
  let server;
  before(async () => {
    const origin = new URL(harness.base).origin;
    server = await startHarness((folder) => {
      const file = join(folder, 'app.log');
      writeFileSync(file, 'before\n');
      return {
        tail: { program: 'tail', settings: { SSE_FILE: file, SSE_RETRY: '1s', SSE_ALLOW_ORIGIN: origin } },
      };
    });
    servers.push(server);
  });

  for (const withCredentials of [false, true]) {
    test(`a page of an allowed origin reads, and goes on; ${withCredentials ? 'with' : 'without'} credentials`, async (t) => {
      const before = readFileSync(join(server.folder, 'app.log'), 'utf8').split('\n').slice(0, -1);
      const options = { page: harness.base, init: { withCredentials } };
      const opened = await openEach(t, pageReaders(browser), url('tail', '', server), options);
      await haveSeen(opened, before.length);
      cut(Object.keys(opened).length, server);
      append('app.log', 'after\n', server);
      await haveSeen(opened, before.length + 1);
      await agree(opened, [...before, 'after'].map((line) => [undefined, line]));
    });
  }

  test('the polyfill that must ask first did ask', () => {
    assert.match(server.log(), /"OPTIONS \/cgi-bin\/nph-tail\.cgi\?evs_buffer_size_limit=262144 HTTP\/1\.1" 204 /);
  });

  test('a page of another origin reads nothing', async (t) => {
    const page = harness.base.replace('127.0.0.1', 'localhost');
    const opened = await openEach(t, pageReaders(browser), url('tail', '', server), { page });
    await each(opened, (reader) => reader.failures() > 0, 'is refused');
    await agree(opened, []);
  });
});
