/** One connection that comes back when EventSource would not; connect() of sse.js uses it. */

import type { StreamEvent, StreamState } from './sse.js';

export interface SourceOptions {
  /** Every event type to listen for. */
  types: string[];
  withCredentials: boolean;
  heartbeat?: boolean;
  lastEventId: string;
  onevent: (event: StreamEvent) => void;
  onstate: (state: StreamState) => void;
  /** Another address of the same stream, when the link in this one expires. */
  renew?: () => Promise<string>;
}

export class Source {
  constructor(url: string, options: SourceOptions);
  start(): void;
  stop(): void;
  retry(): void;
  check(): void;
  /** Goes on at another address of the same stream, after the last event. */
  move(url: string, types: string[]): void;
  /** Listens for more event types, from now on. */
  listen(types: string[]): void;
}

export function backoffMs(failures: number, random?: number): number;
export function resumeUrl(url: string, id: string): string;
export function isVisible(): boolean;
export function reasonIn(data: string): string;
