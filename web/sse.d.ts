/** Server-Sent Events for a page: EventSource, plus what it lacks. */

export { Message, SendError, SendOptions, Sender, send } from './sse-send.js';

export interface StreamEvent {
  /** `message` when the event has no name. */
  type: string;
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
}

export interface ConnectOptions {
  /** Named events to receive; unnamed ones always are. */
  events?: string[];
  /** Every event but `gap`, `close`, `unavailable`, `heartbeat` and `expired`, in order. */
  onevent?: (event: StreamEvent) => void;
  onstate?: (state: StreamState) => void;
  /** The stream is over, told once; null when the server said it by the status 204. */
  onclose?: (event: StreamEvent | null) => void;
  ongap?: (gap: Gap) => void;
  /** There is nothing to read now; the stream is tried again, and goes on by itself. */
  onunavailable?: (reason: string) => void;
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
