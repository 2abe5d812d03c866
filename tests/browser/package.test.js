/**
 * The client as a package: what `npm pack` makes of web/ is installed beside the examples, checked
 * by tsc, built by Vite, and opened.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startHarness } from '../harness.js';
import { launch } from './chromium.js';
import { until } from './until.js';

const project = fileURLToPath(new URL('../..', import.meta.url));
const tests = join(project, 'tests');
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css' };

let top;
let harness;
let browser;

const run = (words, cwd) => {
  try {
    return execFileSync(words[0], words.slice(1), { cwd, encoding: 'utf8', stdio: 'pipe', env: { ...process.env, npm_config_update_notifier: 'false' } });
  } catch (error) {
    throw new Error(`${words.join(' ')}: ${error.stdout}${error.stderr}`);
  }
};

before(async () => {
  // Below tests/, so that the examples find the other packages in its node_modules.
  top = mkdtempSync(join(tests, '.package-'));
  process.once('exit', () => rmSync(top, { recursive: true, force: true }));
  const packed = run(['npm', 'pack', '--silent', '--pack-destination', top, join(project, 'web')], top).trim();
  writeFileSync(join(top, 'package.json'), JSON.stringify({ private: true, type: 'module', dependencies: { 'sse-cgi': `file:${packed}` } }));
  run(['npm', 'install', '--offline', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error'], top);
  cpSync(join(project, 'examples/react-flights'), join(top, 'react-flights'), {
    recursive: true,
    filter: (file) => !file.includes('node_modules'),
  });
  cpSync(join(project, 'examples/frameworks'), join(top, 'frameworks'), { recursive: true });
  harness = await startHarness((folder) => {
    writeFileSync(join(folder, 'app.log'), 'one\ntwo <b>lines</b>\n');
    writeFileSync(join(folder, 'rows.jsonl'), '{"event":"row","data":"<tr><td>I768</td></tr>"}\n{"event":"total","data":"1 flight"}\n');
    // The flight board of the demo, at twice its speed.
    const flights = readFileSync(join(project, 'examples/flights.jsonl'), 'utf8');
    writeFileSync(join(folder, 'flights.jsonl'), flights.replace(/"after":"(\d+)s"/g, (_, s) => `"after":"${s * 500}ms"`));
    return {
      flights: { program: 'script', settings: { SSE_FILE: join(folder, 'flights.jsonl') } },
      tail: { program: 'tail', settings: { SSE_FILE: join(folder, 'app.log') } },
      rows: { program: 'tail', settings: { SSE_FILE: join(folder, 'rows.jsonl') } },
    };
  });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await harness?.end();
});

/** A page of a folder, at the address of the server with the streams. */
async function open(t, folder, name) {
  const page = await browser.newPage();
  t.after(() => page.close());
  page.problems = [];
  page.on('pageerror', (error) => page.problems.push(String(error)));
  await page.route('**/app/**', (route) => {
    const file = join(folder, new URL(route.request().url()).pathname.replace('/app/', ''));
    if (!existsSync(file)) return route.fulfill({ status: 404 });
    return route.fulfill({ contentType: TYPES[extname(file)], body: readFileSync(file) });
  });
  await page.goto(new URL(`app/${name}`, harness.base).href);
  return page;
}

test('the package has the modules, their types and the licence, and nothing else', () => {
  const files = readdirSync(join(top, 'node_modules/sse-cgi')).sort();
  assert.deepEqual(files, [
    'LICENSE',
    'package.json',
    ...['sse-send', 'sse-source', 'sse-tabs', 'sse'].flatMap((name) => [`${name}.d.ts`, `${name}.js`]),
    // What these need; it has no types of its own.
    ...['sse-history.js', 'sse-streams.js'],
  ].sort());
  for (const name of ['sse.js', 'sse-tabs.js']) {
    assert.equal(readFileSync(join(top, 'node_modules/sse-cgi', name), 'utf8'), readFileSync(join(project, 'web', name), 'utf8'));
  }
});

test('what the types declare is there', async (t) => {
  const page = await open(t, join(project, 'web'), 'favicon.svg');
  const exported = await page.evaluate(async (base) => {
    const names = {};
    for (const name of ['sse', 'sse-send', 'sse-source', 'sse-tabs']) names[name] = Object.keys(await import(`${base}${name}.js`)).sort();
    return names;
  }, harness.base);
  for (const [name, names] of Object.entries(exported)) {
    const types = readFileSync(join(project, `web/${name}.d.ts`), 'utf8');
    const declared = [...types.matchAll(/^export (?:declare )?(?:function|class|const) (\w+)/gm)].map(([, word]) => word);
    if (name === 'sse') declared.push('SendError', 'Sender', 'send');
    assert.deepEqual(declared.sort(), names, name);
  }
});

// tsc and Vite take some seconds: they read their own large libraries.
test('a React app with TypeScript: it checks, builds, and shows the flight board', async (t) => {
  const app = join(top, 'react-flights');
  // An expected error that does not come is an error: then the types say nothing.
  writeFileSync(
    join(app, 'src/wrong.ts'),
    "import { connect } from 'sse-cgi';\n// @ts-expect-error\nconnect('/a', { onevent: (event) => event.nothing });\n",
  );
  run([join(tests, 'node_modules/.bin/tsc')], app);
  run([join(tests, 'node_modules/.bin/vite'), 'build', '--logLevel', 'error'], app);
  const page = await open(t, join(app, 'dist'), 'index.html');
  const states = () => page.$$eval('tbody tr', (rows) => rows.map((row) => row.cells[3].textContent));
  await until('the table', async () => (await states()).length === 5);
  await until('a change', async () => (await states())[0] === 'landing');
  await page.getByRole('button', { name: 'Stop updates' }).click();
  assert.equal(await page.getByRole('status').textContent(), 'closed');
  const witness = await open(t, join(app, 'dist'), 'index.html');
  await until('a change that is not seen here', async () => (await witness.$$eval('tbody td', (cells) => cells.map((cell) => cell.textContent))).includes('landed'));
  assert.equal((await states())[0], 'landing');
  await page.getByRole('button', { name: 'Resume updates' }).click();
  await until('what was missed', async () => (await states())[0] === 'landed');
  assert.deepEqual([page.problems, witness.problems], [[], []]);
});

test('ten lines of React, Vue and Svelte', async (t) => {
  const app = join(top, 'frameworks');
  const entries = {
    react: "import { createElement } from 'react';\nimport { createRoot } from 'react-dom/client';\nimport { Log } from './react';\ncreateRoot(document.body).render(createElement(Log, { url: '/events/tail' }));\n",
    vue: "import { createApp } from 'vue';\nimport Log from './Log.vue';\ncreateApp(Log).mount(document.body);\n",
    svelte: "import { mount } from 'svelte';\nimport Log from './Log.svelte';\nmount(Log, { target: document.body });\n",
  };
  for (const [name, script] of Object.entries(entries)) {
    writeFileSync(join(app, `${name}-entry.js`), script);
    writeFileSync(join(app, `${name}.html`), `<!doctype html><html><body></body><script type="module" src="./${name}-entry.js"></script></html>`);
  }
  writeFileSync(
    join(app, 'vite.config.js'),
    `import react from '@vitejs/plugin-react';
import vue from '@vitejs/plugin-vue';
import { svelte } from '@sveltejs/vite-plugin-svelte';
const input = ${JSON.stringify(Object.keys(entries).map((name) => `${name}.html`))};
export default { base: './', plugins: [react(), vue(), svelte()], build: { minify: false, rollupOptions: { input } } };
`,
  );
  run([join(tests, 'node_modules/.bin/vite'), 'build', '--logLevel', 'error'], app);
  for (const name of Object.keys(entries)) {
    const page = await open(t, join(app, 'dist'), `${name}.html`);
    await until(`the lines by ${name}`, async () => (await page.locator('li').allTextContents()).join() === 'one,two <b>lines</b>');
    assert.deepEqual(page.problems, [], name);
  }
});

test('ten lines of htmx', async (t) => {
  const app = join(top, 'htmx');
  mkdirSync(app);
  cpSync(join(top, 'frameworks/htmx.html'), join(app, 'htmx.html'));
  cpSync(join(tests, 'node_modules/htmx.org/dist/htmx.min.js'), join(app, 'htmx.min.js'));
  cpSync(join(tests, 'node_modules/htmx-ext-sse/dist/sse.min.js'), join(app, 'sse.min.js'));
  const page = await open(t, app, 'htmx.html');
  await until('the row and the total', async () => (await page.locator('td').count()) === 1 && (await page.locator('p').textContent()) === '1 flight');
  assert.deepEqual(page.problems, []);
});
