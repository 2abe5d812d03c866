import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { until } from '../browser/until.js';

const script = fileURLToPath(new URL('../../scripts/test', import.meta.url));

/** How scripts/test runs a file of tests like this one. */
describe('a file of tests', () => {
  /** @param {string} command for sh, which knows by $1 how often it was run before */
  const run = (t, command) => {
    const folder = mkdtempSync(join(tmpdir(), 'sse-cgi-js-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const file = (name) => join(folder, name);
    writeFileSync(file('flaky'), '');
    const counted = `echo run >>"${file('runs')}"; set -- $(wc -l <"${file('runs')}"); ${command}`;
    const args = ['--twice', file('flaky'), 'a.test.js', 'sh', '-c', counted];
    const { status, stdout } = spawnSync(script, args, { encoding: 'utf8', timeout: 60_000 });
    const read = (name) => readFileSync(file(name), 'utf8');
    return { status, stdout, runs: read('runs').split('\n').length - 1, flaky: read('flaky') };
  };

  test('that passes is run once', (t) => {
    assert.deepEqual(run(t, 'echo fine'), { status: 0, stdout: 'fine\n', runs: 1, flaky: '' });
  });

  test('that fails once is run again, is reported as FLAKY, and keeps its first output', (t) => {
    const { status, stdout, runs, flaky } = run(t, 'echo "output of run $1"; [ "$1" = 2 ]');
    assert.deepEqual([status, runs, flaky], [0, 2, 'a.test.js\n']);
    assert.match(stdout, /^output of run 1\n==> a\.test\.js failed \(1\) .*\noutput of run 2\n==> FLAKY a\.test\.js: /);
  });

  test('that fails twice has failed', (t) => {
    const { status, stdout, runs, flaky } = run(t, 'echo "output of run $1"; exit 3');
    assert.deepEqual([status, runs, flaky], [1, 2, '']);
    assert.match(stdout, /output of run 2\n==> a\.test\.js failed again \(3\)\n$/);
  });

  test('leaves no process behind', async (t) => {
    const { stdout } = run(t, 'sleep 600 >/dev/null 2>&1 & echo $!');
    const isThere = () => {
      try {
        // A zombie, which nobody may collect in a container, is none.
        return !/\) Z /.test(readFileSync(`/proc/${stdout.trim()}/stat`, 'utf8'));
      } catch {
        return false;
      }
    };
    await until('it has ended', () => !isThere());
  });
});

/** How scripts/test runs the tests in Rust. The cargo is one that prints what nextest prints. */
describe('a test in Rust', () => {
  const run = (t, { first, second }) => {
    const folder = mkdtempSync(join(tmpdir(), 'sse-cgi-js-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const file = (name) => join(folder, name);
    writeFileSync(file('flaky'), '');
    const result = (failed) => `${failed.map((name) => `echo '        FAIL [   0.232s] ( 9/17) ${name}'`).join('; ')}
      echo '        PASS [   0.032s] (10/17) sse-cgi::http good'; exit ${failed.length > 0 ? 100 : 0}`;
    const cargo = `#!/bin/sh
      case "$*" in
      *--filterset*) for filter; do :; done; echo "$filter" >'${file('filter')}'; ${result(second)};;
      *nextest*run*) ${result(first)};;
      esac`;
    writeFileSync(file('cargo'), cargo, { mode: 0o755 });
    const env = { ...process.env, PATH: `${folder}:${process.env.PATH}` };
    const args = ['--step', 'rust', file('flaky')];
    const { status, stdout } = spawnSync(script, args, { encoding: 'utf8', timeout: 60_000, env });
    const read = (name) => (existsSync(file(name)) ? readFileSync(file(name), 'utf8') : '');
    return { status, stdout, filter: read('filter'), flaky: read('flaky') };
  };

  test('that passes is run once', (t) => {
    const { status, filter, flaky } = run(t, { first: [], second: [] });
    assert.deepEqual([status, filter, flaky], [0, '', '']);
  });

  test('that fails once is run again, and reported as FLAKY', (t) => {
    const { status, filter, flaky } = run(t, { first: ['sse-cgi a::b', 'sse-cgi::http c'], second: [] });
    const expected = '(binary_id(=sse-cgi) & test(=a::b)) | (binary_id(=sse-cgi::http) & test(=c))\n';
    assert.deepEqual([status, filter, flaky], [0, expected, 'sse-cgi a::b\nsse-cgi::http c\n']);
  });

  test('that fails twice has failed', (t) => {
    const { status, flaky } = run(t, { first: ['sse-cgi a::b'], second: ['sse-cgi a::b'] });
    assert.notEqual(status, 0);
    assert.equal(flaky, '');
  });

  test('is not run again if many have failed', (t) => {
    const first = Array.from({ length: 9 }, (_, number) => `sse-cgi a${number}`);
    const { status, filter } = run(t, { first, second: [] });
    assert.notEqual(status, 0);
    assert.equal(filter, '');
  });
});
