import type { SegmentContent } from './segment-reader.ts';

/** A file of the WAL that is complete and checked, in a private folder. */
export interface WalFile {
  readonly kind: 'segment' | 'partial' | 'history' | 'backup-history';
  /** PostgreSQL's name of it. */
  readonly name: string;
  readonly timeline: number;
  /** Null for a history. */
  readonly number: number | null;
  readonly path: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** Null for histories. */
  readonly content: SegmentContent | null;
}

/** `conflict`: other bytes are stored under this name, and nothing was changed. */
export type AppendOutcome = 'stored' | 'conflict';

/**
 * Where WAL is stored. `append` resolves with `stored` when the file is durable and never before, also when the same bytes were stored
 * earlier. It must read the file itself and compare with `sha256`: the folder may be writable by the database server. It may take long;
 * the caller adds retries here.
 */
export interface SegmentSink {
  append(file: WalFile, signal: AbortSignal): Promise<AppendOutcome>;
}
