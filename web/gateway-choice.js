/**
 * Which ways lead to the streams here, and which of them is taken.
 *
 * @module
 */

import { gateway, gateways } from './config.js';
import { t } from './words.js';

/** @type {Record<string, {name: string, words: string}>} */
const KNOWN = {
  cgi: { name: 'CGI', words: ', a program for each stream' },
  fastcgi: { name: 'FastCGI', words: ', one process for all' },
};
const described = (/** @type {string} */ name) => KNOWN[name] ?? { name, words: '' };

/**
 * Whether a stream answers there; only its head is asked for.
 *
 * @param {string} address
 */
async function answers(address) {
  try {
    const response = await fetch(address, {
      method: 'HEAD',
      headers: { Accept: 'text/event-stream' },
      cache: 'no-store',
      signal: AbortSignal.timeout(5000),
    });
    return response.ok && (response.headers.get('Content-Type') ?? '').startsWith('text/event-stream');
  } catch {
    return false;
  }
}

/** @param {HTMLElement} element an empty one; it shows nothing where there is no choice */
export async function showGateways(element) {
  const names = Object.keys(gateways);
  const there = await Promise.all(names.map((name) => answers(gateways[name]('clock'))));
  const others = names.filter((name, n) => there[n] && name !== gateway);
  const isHere = there[names.indexOf(gateway)];
  if (others.length === 0) return;
  const ours = described(gateway);
  element.append(
    isHere
      ? t('These streams come through {name}{words}. ', { name: ours.name, words: t(ours.words) })
      : t('Nothing answers here through {name}. ', { name: ours.name }),
  );
  for (const other of others) {
    const { name, words } = described(other);
    const link = document.createElement('a');
    link.href = `?gateway=${encodeURIComponent(other)}`;
    link.textContent = t(isHere ? 'The same through {name}' : 'Take {name}', { name });
    element.append(link, t('{words}. ', { words: t(words) }));
  }
}
