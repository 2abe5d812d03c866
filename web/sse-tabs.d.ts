/** One connection per stream for all tabs of a browser; connect() of sse.js uses it. */

import type { SourceOptions } from './sse-source.js';
import type { StreamEvent } from './sse.js';

export type Numbered = StreamEvent & { seq: number };

export interface SharedSourceOptions extends SourceOptions {
  heartbeat: boolean;
  keep: number;
  /** These streams in one connection; the types are theirs. */
  streams?: string[];
  /** Events were forgotten before this tab joined; of these streams, if there are several. */
  onlate: (streams: string[]) => void;
  /** Sharing is refused, as in a sandboxed frame. */
  onunavailable: () => void;
}

export class SharedSource {
  static isPossible(): boolean;
  constructor(url: string, options: SharedSourceOptions);
  start(): void;
  stop(): void;
  retry(): void;
}

/** The address without a signed link or a token, which differ from tab to tab. */
export function withoutLink(url: string, fields?: string[]): string;

/** The events that a tab was given, as far as it remembers them. */
export class History {
  constructor(keep: number, id: string);
  push(event: Numbered): void;
  all(): Numbered[];
  after(seq: number, id: string): Numbered[] | null;
  holds(event: Numbered): boolean;
}
