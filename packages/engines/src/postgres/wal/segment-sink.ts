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

/**
 * Where WAL is stored. `append` resolves when the file is durable and never before. The same bytes under the same name are a success;
 * other bytes under a name that is taken are a failure and change nothing. It may take long: the caller adds retries here.
 */
export interface SegmentSink {
  append(file: WalFile, signal: AbortSignal): Promise<void>;
}
