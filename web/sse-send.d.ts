/** Publishing: POST to a publish address, beside an event stream. */

export interface Message {
  /** The event's name; without it, it has none. */
  event?: string;
  /** Anything that JSON can hold. */
  data?: unknown;
}

export interface SendOptions {
  /** Sent as `Authorization: Bearer`. */
  token?: string;
  /** Further fields, such as X-Session-ID. */
  headers?: Record<string, string>;
  /** Cookies across origins; default false. */
  withCredentials?: boolean;
  signal?: AbortSignal;
  /** Default 30 s; the server's own limit is 10 s. */
  timeoutMs?: number;
}

/** Why a message was not published. */
export class SendError extends Error {
  constructor(message: string, more?: { status?: number; retryAfterMs?: number; cause?: unknown });
  /** The HTTP status; 0 when there was no answer. */
  status: number;
  /** When the server would like to hear it again, if it said so. */
  retryAfterMs: number | undefined;
  /** Nobody knows: the answer got lost, or there never was one. */
  mayBePublished: boolean;
}

/**
 * Publishes a message and resolves to its id; '' from a server that tells none. Rejects with a
 * SendError.
 *
 * @param address relative to the page
 */
export function send(address: string | URL, message: Message, options?: SendOptions): Promise<string>;

/** Sends, and remembers what it sent. */
export class Sender {
  constructor(address: string | URL, options?: SendOptions & { keep?: number });
  send(message: Message, options?: SendOptions): Promise<string>;
  /** Whether the event of this id is one of ours. */
  isOwn(id: string): Promise<boolean>;
}
