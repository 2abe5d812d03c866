/**
 * The frames of scripts/pictures: node frames.js URL FOLDER writes PNGs there, and `frames`, which
 * names each with the milliseconds for which it is shown.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { launch } from '../../tests/browser/chromium.js';

const [url, folder] = process.argv.slice(2);
const SIZE = { width: 880, height: 460 };
const browser = await launch();
const context = await browser.newContext({ viewport: SIZE, locale: 'en-GB', colorScheme: 'light' });
const frames = [];

/** Takes a picture whenever the page has changed. */
async function film(page, seconds, everyMs) {
  const end = Date.now() + seconds * 1000;
  let last = null;
  let since = Date.now();
  while (Date.now() < end) {
    const picture = await page.screenshot();
    const now = Date.now();
    if (!last?.equals(picture)) {
      if (last) keep(last, now - since);
      last = picture;
      since = now;
    }
    await page.waitForTimeout(Math.max(0, everyMs - (Date.now() - now)));
  }
  keep(last, Date.now() - since);
}

function keep(picture, ms) {
  const file = `frame-${frames.length}.png`;
  writeFileSync(join(folder, file), picture);
  frames.push(`${file} ${Math.min(ms, 1500)}`);
}

const log = await context.newPage();
await log.goto(new URL('log.html', url).href);
await log.locator('#log .row').nth(8).waitFor();
await film(log, 7, 250);
await log.close();

const flights = await context.newPage();
await flights.goto(new URL('flights.html', url).href);
await flights.locator('#flights tr').nth(4).waitFor();
await film(flights, 11.5, 250);
await flights.close();
writeFileSync(join(folder, 'frames'), `${frames.join('\n')}\n`);

const all = await browser.newPage({ viewport: { width: 1280, height: 860 }, locale: 'en-GB', colorScheme: 'light' });
await all.goto(new URL('index.html', url).href);
await all.locator('#log .row').nth(8).waitFor();
await all.locator('#flights tr').nth(4).waitFor();
await all.screenshot({ path: join(folder, 'screenshot.png') });
await browser.close();
