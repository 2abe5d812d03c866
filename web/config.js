/**
 * Where the streams are: the one file to edit when they are elsewhere.
 *
 * Every page also takes its stream's address from `?stream=`, and its gateway
 * from `?gateway=`, which holds for the tab until it is closed.
 *
 * @module
 */

import { usual } from './site.js';

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

/**
 * The ways to a stream: its address, by its name.
 *
 * @type {Record<string, (name: string) => string>}
 */
export const gateways = {
  /** A program for each stream that is open. */
  cgi: (name) => `/cgi-bin/${prefix}${name}.cgi`,
  /** One responder for all of them. */
  fastcgi: (name) => `/events/${name}`,
};

/** The way that is taken, one of `gateways`. */
export const gateway = [asked(), remembered()].find((name) => name && Object.hasOwn(gateways, name)) ?? usual;

const address = gateways[gateway];

export const streams = {
  answer: address('answer'),
  clock: address('clock'),
  countdown: address('countdown'),
  flights: address('flights'),
  room: address('room'),
  tail: address('tail'),
  timers: address('timers'),
};

/** The figures of the responder, which is behind FastCGI only. */
export const status = gateways.fastcgi('status');

function asked() {
  const name = new URLSearchParams(location.search).get('gateway');
  try {
    if (name) sessionStorage.setItem('gateway', name);
  } catch {
    // The browser keeps nothing for us; then it holds for this page.
  }
  return name;
}

function remembered() {
  try {
    return sessionStorage.getItem('gateway');
  } catch {
    return null;
  }
}
