/**
 * Publishing: POST to a publish address, beside an event stream.
 *
 *     import { send } from './sse-send.js';
 *
 *     const id = await send('/cgi-bin/publish.cgi', { event: 'say', data: { text } });
 *
 * The id is the one that the event has when it comes down, so a page recognises
 * its own. It may come down before this answer is there; Sender knows about that.
 *
 * It sends once. Whether to send again is for the page to decide: SendError says
 * whether the message may have been published all the same.
 *
 * @module
 */

/**
 * @typedef {object} Message
 * @property {string} [event] the event's name; without it, it has none
 * @property {unknown} [data] anything that JSON can hold
 */

/**
 * @typedef {object} SendOptions
 * @property {string} [token] sent as `Authorization: Bearer`
 * @property {Record<string, string>} [headers] further fields, such as X-Session-ID
 * @property {boolean} [withCredentials] cookies across origins; default false
 * @property {AbortSignal} [signal]
 * @property {number} [timeoutMs] default 30 s; the server's own limit is 10 s
 */

/** Why a message was not published. */
export class SendError extends Error {
  /**
   * @param {string} message the server's words, where it had some
   * @param {object} [more]
   * @param {number} [more.status]
   * @param {number} [more.retryAfterMs]
   * @param {unknown} [more.cause]
   */
  constructor(message, { status = 0, retryAfterMs, cause } = {}) {
    super(message, { cause });
    this.name = 'SendError';
    /** The HTTP status; 0 when there was no answer. */
    this.status = status;
    /** When the server would like to hear it again, if it said so. */
    this.retryAfterMs = retryAfterMs;
    /** Nobody knows: the answer got lost, or there never was one. */
    this.mayBePublished = status === 0;
  }
}

/**
 * Publishes a message and resolves to its id.
 *
 * @param {string | URL} address relative to the page
 * @param {Message} message
 * @param {SendOptions} [options]
 * @returns {Promise<string>} '' from a server that tells none
 * @throws {SendError}
 * @throws {TypeError} of a message that JSON cannot hold; nothing was sent
 */
export async function send(address, message, options = {}) {
  const { token, headers, withCredentials = false, signal, timeoutMs = 30_000 } = options;
  const body = JSON.stringify(message);
  const leave = new AbortController();
  const abort = () => leave.abort(signal?.reason);
  const timer = setTimeout(() => leave.abort(new Error('no answer in time')), timeoutMs);
  signal?.addEventListener('abort', abort, { once: true });
  if (signal?.aborted) abort();
  let response;
  let answer;
  try {
    response = await fetch(new URL(address, location.href), {
      method: 'POST',
      headers: {
        ...headers,
        'Content-Type': 'application/json',
        ...(token ? { Authorization: `Bearer ${token}` } : {}),
      },
      body,
      credentials: withCredentials ? 'include' : 'same-origin',
      // A browser would make a GET of it, and lose the message without a word.
      redirect: 'error',
      cache: 'no-store',
      signal: leave.signal,
    });
    answer = parse(await response.text());
  } catch (cause) {
    const why = leave.signal.aborted ? leave.signal.reason : cause;
    throw new SendError(why instanceof Error ? why.message : String(why), { cause: why });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
  if (response.ok) return typeof answer.id === 'string' ? answer.id : '';
  const seconds = Number(response.headers.get('Retry-After') ?? NaN);
  throw new SendError(typeof answer.error === 'string' ? answer.error : `HTTP ${response.status}`, {
    status: response.status,
    retryAfterMs: seconds >= 0 ? seconds * 1000 : undefined,
  });
}

/**
 * Sends, and remembers what it sent.
 *
 *     const sender = new Sender('/cgi-bin/publish.cgi');
 *     sender.send({ data: 'hello' });
 *     // of every event that comes down:
 *     if (await sender.isOwn(id)) …
 */
export class Sender {
  #address;
  #options;
  #keep;
  /** Ids that were answered, the oldest first. */
  #ids = new Set();
  /** @type {Set<Promise<unknown>>} */
  #underWay = new Set();

  /**
   * @param {string | URL} address
   * @param {SendOptions & {keep?: number}} [options] for every message; `keep` is how
   *   many ids are remembered, by default 1000
   */
  constructor(address, { keep = 1000, ...options } = {}) {
    this.#address = address;
    this.#options = options;
    this.#keep = keep;
  }

  /**
   * As send() does.
   *
   * @param {Message} message
   * @param {SendOptions} [options] for this one
   */
  send(message, options) {
    const sending = send(this.#address, message, { ...this.#options, ...options }).then((id) => {
      if (id) this.#ids.add(id);
      if (this.#ids.size > this.#keep) this.#ids.delete(this.#ids.values().next().value);
      return id;
    });
    this.#underWay.add(sending);
    const done = () => this.#underWay.delete(sending);
    sending.then(done, done);
    return sending;
  }

  /**
   * Whether the event of this id is one of ours. It waits for the answers to what is
   * under way now, because an event may overtake the answer that tells its id.
   *
   * @param {string} id
   * @returns {Promise<boolean>}
   */
  async isOwn(id) {
    if (!this.#ids.has(id)) await Promise.allSettled([...this.#underWay]);
    return this.#ids.has(id);
  }
}

/** @param {string} text */
function parse(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}
