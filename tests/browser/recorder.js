/**
 * A page that does nothing but write down what sse.js tells it.
 */
import { address } from './site.js';

/**
 * @param {import('playwright-core').BrowserContext} context
 * @param {string} url
 * @param {object} [options] those of connect() that can be sent to a page
 */
export async function record(context, url, options = {}) {
  const page = await context.newPage();
  await page.addInitScript(() => {
    // A page can be made deaf for what other tabs say.
    window.BroadcastChannel = class extends window.BroadcastChannel {
      set onmessage(/** @type {any} */ hear) {
        super.onmessage = (event) => window.isDeaf || hear(event);
      }
    };
  });
  // Of our origin, and nothing of ours runs in it.
  await page.goto(address('favicon.svg'));
  await connectIn(page, url, options);
  return page;
}

/**
 * @param {import('playwright-core').Page} page
 * @param {string} url
 * @param {object} [options]
 */
export async function connectIn(page, url, options = {}) {
  await page.evaluate(
    async ({ module, url, options }) => {
      const { connect } = await import(module);
      const seen = { events: [], states: [], gaps: [], closes: [] };
      window.seen = seen;
      window.stream = connect(url, {
        ...options,
        onevent: (event) => seen.events.push(event),
        onstate: (state) => seen.states.push(state),
        ongap: (gap) => seen.gaps.push(gap),
        onclose: (event) => seen.closes.push(event),
      });
    },
    { module: address('sse.js'), url, options },
  );
}

/**
 * @param {import('playwright-core').Page} page
 * @returns {Promise<{events: {type: string, data: string, id: string}[], states: {name: string, retryAt?: number, status?: number}[], gaps: {reason: string}[], closes: unknown[]}>}
 */
export const seenBy = (page) => page.evaluate(() => window.seen);

/**
 * @param {import('playwright-core').Page} page
 * @param {string} mark
 */
export const dataSeen = async (page, mark = '') =>
  (await seenBy(page)).events.map((event) => event.data).filter((data) => data.includes(mark));

/** @param {import('playwright-core').Page} page */
export const stateOf = (page) => page.evaluate(() => window.stream.state.name);

/**
 * @param {import('playwright-core').Page} page
 * @param {boolean} isDeaf to other tabs
 */
export const setDeaf = (page, isDeaf) => page.evaluate((isDeaf) => (window.isDeaf = isDeaf), isDeaf);
