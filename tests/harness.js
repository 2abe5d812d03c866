/**
 * sse-harness for the tests in JavaScript, with its programs in a folder of its own.
 *
 *     node tests/harness.js COMMAND ARGUMENT...
 *
 * runs a command beside one that has the pages and a log, as tests/with_apache.rs
 * does beside an Apache: the command finds it in its environment
 * (tests/browser/site.js says what the variables mean) and its exit code is ours.
 *
 *   SSE_TEST_PROGRAMS  the folder of the built programs; default: debug in
 *                      CARGO_TARGET_DIR, which is target where it is not set
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const project = fileURLToPath(new URL('..', import.meta.url));
const { CARGO_TARGET_DIR, SSE_TEST_PROGRAMS } = process.env;
const target = resolve(project, CARGO_TARGET_DIR ?? 'target');
const programs = SSE_TEST_PROGRAMS ? resolve(SSE_TEST_PROGRAMS) : join(target, 'debug');

/**
 * @typedef {object} Stream
 * @property {string} program `clock`, `countdown`, `script`, `tail` or `publish`
 * @property {Record<string, string>} [settings]
 */

/**
 * Starts a server whose programs are `nph-NAME.cgi` and `NAME.cgi` for each stream;
 * its FastCGI responder has the same streams at `/events/NAME`.
 *
 * @param {(folder: string) => Record<string, Stream>} streamsIn by name; `folder` is
 *   there for their files, and gone when the server has ended
 */
export async function startHarness(streamsIn) {
  const folder = mkdtempSync(join(tmpdir(), 'sse-cgi-js-'));
  const cgiBin = join(folder, 'cgi-bin');
  mkdirSync(cgiBin);
  const settings = [];
  for (const [name, { program, settings: own = {} }] of Object.entries(streamsIn(folder))) {
    for (const file of [`nph-${name}.cgi`, `${name}.cgi`]) {
      const built = program === 'publish' ? program : `nph-${program}`;
      symlinkSync(join(programs, built), join(cgiBin, file));
      for (const [variable, value] of Object.entries({ SSE_STREAM: program, ...own })) {
        settings.push('--set', `${file}:${variable}=${value}`);
      }
    }
  }
  const log = join(folder, 'harness.log');
  const args = ['--listen', '127.0.0.1:0', '--web', join(project, 'web'), '--cgi-bin', cgiBin, ...settings];
  // A shell sends its errors into a file, which no pipe of ours can block.
  const server = spawn('/bin/sh', ['-c', 'exec "$0" "$@" 2>"$LOG"', join(programs, 'sse-harness'), ...args], {
    env: { PATH: '/usr/bin:/bin', LOG: log },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(server, 'exit');
  // Nobody's child outlives the tests, also when they die of an exception.
  const kill = () => server.kill('SIGTERM');
  process.once('exit', kill);

  let base;
  for await (const line of createInterface({ input: server.stdout })) {
    base = line.split(' ').at(-1);
    break;
  }
  if (!base) {
    await ended;
    throw new Error(`sse-harness did not start (is it built?): ${readFileSync(log, 'utf8')}`);
  }
  return {
    base,
    pid: server.pid,
    folder,
    /** What it logged: a line for each request that has ended. */
    log: () => readFileSync(log, 'utf8'),
    async end() {
      process.off('exit', kill);
      kill();
      await ended;
      rmSync(folder, { recursive: true });
    },
  };
}

/** The streams of the demo. */
function demo(folder) {
  writeFileSync(join(folder, 'app.log'), '');
  const example = (name) => ({
    program: 'script',
    settings: { SSE_FILE: join(project, 'examples', `${name}.jsonl`) },
  });
  return {
    clock: { program: 'clock' },
    countdown: { program: 'countdown' },
    flights: example('flights'),
    timers: example('timers'),
    tail: { program: 'tail', settings: { SSE_FILE: join(folder, 'app.log') } },
  };
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const [command, ...args] = process.argv.slice(2);
  if (!command) {
    console.error(`usage: node ${basename(process.argv[1])} COMMAND [ARGUMENT]...`);
    process.exit(100);
  }
  const harness = await startHarness(demo);
  const env = {
    ...process.env,
    SSE_TEST_BASE: harness.base,
    SSE_TEST_LOG: join(harness.folder, 'app.log'),
    SSE_TEST_SERVER_PID: String(harness.pid),
  };
  const child = spawn(command, args, { env, stdio: 'inherit' });
  const [code] = await once(child, 'exit');
  if (code !== 0) console.error(harness.log());
  await harness.end();
  process.exitCode = code ?? 1;
}
