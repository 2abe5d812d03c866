/** The browser of the tests: the machine's Chromium, without a window. */
import { chromium } from 'playwright-core';

/** `SSE_TEST_CHROMIUM` names another one. */
const { SSE_TEST_CHROMIUM = '/usr/bin/chromium' } = process.env;

export function launch() {
  return chromium.launch({
    executablePath: SSE_TEST_CHROMIUM,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}
