/**
 * Where the streams are: the one file to edit when they are elsewhere, for
 * example `const address = (name) => `/events/${name}`` behind nginx.
 *
 * Every page also takes its stream's address from `?stream=`.
 *
 * @module
 */

/**
 * A program whose name begins with `nph-` writes straight to the browser, and
 * Apache holds its output back over HTTP/2; the same program under the plain
 * name streams there. So the pages ask for the one that suits the protocol
 * they came by themselves.
 */
function isHttp1() {
  const [page] = performance.getEntriesByType('navigation');
  return /^(http\/1.*)?$/.test(/** @type {any} */ (page)?.nextHopProtocol ?? '');
}

const prefix = isHttp1() ? 'nph-' : '';
const address = (/** @type {string} */ name) => `/cgi-bin/${prefix}${name}.cgi`;

export const streams = {
  clock: address('clock'),
  countdown: address('countdown'),
  flights: address('flights'),
  tail: address('tail'),
  timers: address('timers'),
};
