/**
 * The address of a page's stream: `?stream=` or the default.
 *
 * @module
 */

/**
 * Anybody can send a link with any `?stream=`. So it is a path on this origin,
 * or it says in full that it is http or https; `javascript:`, `data:` and
 * `//elsewhere` are refused.
 *
 * @param {string} text
 * @returns {URL | null} null when it is no such address
 */
export function parseStreamAddress(text) {
  const trimmed = text.trim();
  if (!trimmed || !URL.canParse(trimmed, location.href)) return null;
  const url = new URL(trimmed, location.href);
  const isOurs = url.origin === location.origin && /^https?:$/.test(url.protocol);
  return isOurs || /^https?:\/\//i.test(trimmed) ? url : null;
}

/**
 * @param {string} byDefault
 * @returns {{url: URL, refused: string | null}} `refused` is what `?stream=`
 *   said, when it could not be used and the default is taken
 */
export function streamAddress(byDefault) {
  const asked = new URLSearchParams(location.search).get('stream');
  const fallback = new URL(byDefault, location.href);
  if (asked === null) return { url: fallback, refused: null };
  const url = parseStreamAddress(asked);
  return url ? { url, refused: null } : { url: fallback, refused: asked };
}

/** The fields of a signed link, and a token. */
const OF_LINK = ['e', 'p', 't', 'token'];

/** Those that this page was opened with, of which its streams have need too. */
export const linkFields = [...new URLSearchParams(location.search)].filter(([name]) => OF_LINK.includes(name));

/**
 * The same address with the link that this page was opened with, unless it has one or is another
 * site's.
 *
 * @param {URL} url
 */
export function withLink(url) {
  const linked = new URL(url);
  const hasOwn = OF_LINK.some((name) => url.searchParams.has(name));
  if (url.origin !== location.origin || hasOwn) return linked;
  for (const [name, value] of linkFields) linked.searchParams.append(name, value);
  return linked;
}

/**
 * As short as it can be said: without the origin when it is this one.
 *
 * @param {URL} url
 */
export function shortAddress(url) {
  return url.origin === location.origin ? url.pathname + url.search : url.href;
}
