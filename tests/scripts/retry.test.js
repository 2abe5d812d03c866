import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
