/** Server-Sent Events for a page: EventSource, plus what it lacks. */

export { Message, SendError, SendOptions, Sender, send } from './sse-send.js';

export interface StreamEvent {
  /** `message` when the event has no name. */
  type: string;
  /** The stream's name, where `streams` were asked for. */
  stream?: string;
  data: string;
  /** The last event id as of this event; '' when there is none. */
  id: string;
}

export type StateName = 'connecting' | 'open' | 'waiting' | 'finished' | 'closed';

export interface StreamState {
  /**
   * connecting: under way, also by another tab on our behalf;
   * waiting: for the next attempt, for the page to be seen, or for something to read;
   * finished: the server said that the stream is over;
   * closed: by close().
   */
  name: StateName;
  /** When the next attempt is due, as Date.now() counts. */
  retryAt?: number;
  /** The HTTP status that stands in the way, when known. */
  status?: number;
  /** Why there is nothing to read now, in a few words. */
  reason?: string;
}

export interface Gap {
  /**
   * The server's `bad-id`, `unknown-id`, `expired`, `truncated`, `rotated` or `cut`; or `late`:
   * this tab joined a connection whose first events no tab remembers.
   */
  reason: string;
  bytes?: number;
  file?: string;
  /** The stream's name, where `streams` were asked for; none where it concerns the connection. */
  stream?: string;
}

export interface ConnectOptions {
  /**
   * The streams of this address to receive, in one connection: the server has them in SSE_STREAMS.
   * All tabs of a browser share it, whichever streams each of them wants.
   */
  streams?: string[];
  /**
   * Named events to receive; unnamed ones always are. With `streams`, `update` is that of each
   * stream, `builds/update` that of one.
   */
  events?: string[];
  /** Every event but `gap`, `close`, `unavailable`, `heartbeat` and `expired`, in order. */
  onevent?: (event: StreamEvent) => void;
  onstate?: (state: StreamState) => void;
  /**
   * The stream is over, told once; null when the server said it by the status 204. With `streams`,
   * told of each; when all are over, the state is `finished`.
   */
  onclose?: (event: StreamEvent | null) => void;
  ongap?: (gap: Gap) => void;
  /**
   * There is nothing to read now; the stream is tried again, and goes on by itself. With `streams`,
   * of the one that is named, or of all.
   */
  onunavailable?: (reason: string, stream?: string) => void;
  /**
   * Gets another signed link to the same stream from the application: before the present one
   * expires, and when the server answers 403. What it throws is reported, and it is asked again.
   */
  renew?: () => string | URL | Promise<string | URL>;
  /** One connection for all tabs; default true. */
  shared?: boolean;
  /** Ask for the event `heartbeat`, to notice a lost connection; default true. */
  heartbeat?: boolean;
  /** Cookies across origins; default false. */
  withCredentials?: boolean;
  /** Go on after this event; default: as a first-time client. */
  lastEventId?: string;
  /** Events that a tab remembers for tabs that join later; default 1000. */
  keep?: number;
}

export interface Stream {
  readonly url: string;
  readonly state: StreamState;
  readonly lastEventId: string;
  /** Try at once: where it waits, and where it is open too, as that connection may be lost. */
  retry(): void;
  close(): void;
}

/**
 * Opens a stream. Callbacks are called after it has returned.
 *
 * @param address relative to the page
 */
export function connect(address: string | URL, options?: ConnectOptions): Stream;
