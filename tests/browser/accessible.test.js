/**
 * Whether everybody can use the pages: axe-core's rules, the keyboard, a phone, and Japanese.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { address, appendToLog, launch, newProfile, stream } from './site.js';
import { until } from './until.js';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PAGES = ['log', 'index', 'flights', 'countdown', 'clock', 'chat', 'answer', 'status', 'check', 'about'];

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** A page with its first events, in a browser like this one. */
async function open(t, name, options) {
  const context = await newProfile(browser, options);
  t.after(() => context.close());
  const page = await context.newPage();
  page.problems = [];
  page.on('pageerror', (error) => page.problems.push(String(error)));
  if (name === 'log' || name === 'index') appendToLog(['2026-11-29T10:00:00Z ERROR payment: timed out', 'plain']);
  const own = { log: 'tail', flights: 'flights', clock: 'clock', countdown: 'countdown' }[name];
  await page.goto(address(`${name}.html${own ? `?stream=${encodeURIComponent(stream(own))}` : ''}`));
  return page;
}

// Ten pages, each looked at by a hundred rules: that takes its time.
for (const [colorScheme, options] of Object.entries({ light: {}, dark: { runOnly: ['color-contrast'] } })) {
  test(`axe-core finds nothing, with ${colorScheme} colours`, async (t) => {
    const problems = [];
    const page = await open(t, 'log', { colorScheme, reducedMotion: 'reduce' });
    await until('lines', () => page.locator('#log .row').count());
    for (const name of PAGES) {
      if (name !== 'log') await page.goto(address(`${name}.html`));
      if (name === 'chat') {
        await page.locator('#nick').fill('Ann');
        await page.getByRole('button', { name: 'Enter' }).click();
      }
      // Content-Security-Policy keeps scripts out, but not those of the browser's own tools.
      await page.evaluate(axe);
      const { violations } = await page.evaluate((options) => globalThis.axe.run(options), options);
      for (const { id, nodes } of violations) problems.push(`${name}: ${id}: ${nodes.map((node) => `${node.html} ${node.any[0]?.message ?? ''}`).join('; ')}`);
    }
    assert.deepEqual([problems, page.problems], [[], []]);
  });
}

test('on a phone, the menu is one line, and a button or the keyboard opens it', async (t) => {
  const page = await open(t, 'log', { viewport: { width: 360, height: 740 } });
  const button = page.getByRole('button', { name: 'Menu' });
  await button.waitFor();
  const height = () => page.locator('nav.top').evaluate((menu) => menu.getBoundingClientRect().height);
  assert.ok((await height()) < 60, `${await height()}`);
  assert.equal(await page.getByRole('link', { name: 'Flights' }).isVisible(), false);
  await button.focus();
  await page.keyboard.press('Enter');
  assert.equal(await button.getAttribute('aria-expanded'), 'true');
  assert.ok(await page.getByRole('link', { name: 'Flights' }).isVisible());
  // Its links are next in the order of focus.
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'All');
  await page.keyboard.press('Escape');
  assert.equal(await button.getAttribute('aria-expanded'), 'false');
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Menu');
  for (const name of PAGES) {
    await page.goto(address(`${name}.html`));
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 360, `${name} is ${width} wide`);
  }
});

test('every page says in a sentence what it shows, and links to its explanation', async (t) => {
  const page = await open(t, 'about');
  const explained = await page.$$eval('section[id]', (sections) => sections.map(({ id }) => id));
  for (const name of PAGES.filter((name) => !['index', 'about'].includes(name))) {
    await page.goto(address(`${name}.html`));
    assert.match(await page.locator('.about').first().textContent(), /^This page \w+ .*\. How it works$/, name);
    const link = await page.locator('.about a').getAttribute('href');
    assert.ok(explained.includes(link.replace('about.html#', '')), link);
  }
});

test('lines that arrive are announced where a reader wants it: the chat and the answer, not the log', async (t) => {
  const page = await open(t, 'log');
  const live = async (name) => {
    await page.goto(address(`${name}.html`));
    return page.locator('[role=log]').getAttribute('aria-live');
  };
  // A busy log would be read aloud without an end; role="log" is `polite` by itself.
  assert.equal(await live('log'), 'off');
  assert.equal(await live('chat'), null);
  assert.equal(await live('answer'), null);
});

/** What a page's HTML says, besides names that are the same everywhere. */
const wordsOf = (page) =>
  page.evaluate(() => {
    const words = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const { parentElement, nodeValue } = texts.currentNode;
      const text = nodeValue.trim().replace(/\s+/g, ' ');
      if (/[a-z]{3}/i.test(text) && !parentElement.closest('code, script, noscript, .log, #flights, #results, #streams')) words.push(text);
    }
    for (const element of document.querySelectorAll('[aria-label], [placeholder], [data-empty]')) {
      for (const name of ['aria-label', 'placeholder', 'data-empty']) words.push(element.getAttribute(name) ?? '');
    }
    return [document.documentElement.lang, words.filter((text) => /[a-z]{3}/i.test(text) && !/[ぁ-ん一-龠ァ-ヶ]/.test(text))];
  });

test('in a Japanese browser the pages are Japanese', async (t) => {
  const untranslated = [];
  const page = await open(t, 'log', { locale: 'ja-JP' });
  for (const name of PAGES) {
    if (name !== 'log') await page.goto(address(`${name}.html`));
    if (name === 'clock') await until('a tick', async () => (await page.locator('.clock-zone').textContent()) !== '–');
    const [lang, words] = await wordsOf(page);
    assert.equal(lang, 'ja', name);
    const names = ['sse-cgi', 'update, removal', 'fiveSeconds'];
    untranslated.push(...words.filter((text) => !names.includes(text) && !/^UTC|^POST|^v?\d/.test(text)).map((text) => `${name}: ${text}`));
  }
  assert.deepEqual([untranslated, page.problems], [[], []]);
});

test('a browser that prefers a language between gets what comes first of what there is', async (t) => {
  const page = await open(t, 'about', { locale: 'fr-FR' });
  const language = (languages) =>
    page.evaluate(async ({ languages, module }) => {
      Object.defineProperty(navigator, 'languages', { value: languages, configurable: true });
      return (await import(`${module}?${languages.join()}`)).language;
    }, { languages, module: address('words.js') });
  assert.equal(await language(['fr-FR', 'ja-JP', 'en']), 'ja');
  assert.equal(await language(['de', 'en-GB', 'ja']), 'en');
  assert.equal(await language(['fr']), 'en');
});
