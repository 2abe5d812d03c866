/**
 * A page in Chromium, for tests/debian.sh:
 *
 *     node tests/debian_page.js URL TEXT FILE [FORMAT]
 *
 * waits until the page shows TEXT, appends another line to FILE as FORMAT (%s: the line), and
 * waits for that.
 */
import { appendFileSync } from 'node:fs';
import { launch } from './browser/chromium.js';
import { until } from './browser/until.js';

const [url, text, file, format = '%s'] = process.argv.slice(2);
const browser = await launch();
try {
  const page = await browser.newPage();
  await page.goto(url, { waitUntil: 'domcontentloaded' });
  const shows = (line) => until(`${url} shows ${line}`, async () => (await page.innerText('body')).includes(line));
  await shows(text);
  appendFileSync(file, `${format.replace('%s', 'a line that came later')}\n`);
  await shows('a line that came later');
} finally {
  await browser.close();
}
