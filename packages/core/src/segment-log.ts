import type { Readable } from 'node:stream';
import type { EngineContext } from './engine.ts';

export interface AppendedSegment {
  readonly segment: string;
  /** Size and SHA-256 of the bytes as the engine wrote them, and as they lie in the store. */
  readonly produced: { readonly size: number; readonly sha256: string };
  readonly stored: { readonly size: number; readonly sha256: string };
  /** False when the same bytes had been appended before. */
  readonly isNew: boolean;
}

/**
 * The segments of one log stream of a target: WAL files, transaction logs. Segments are named by their engine and sort by their
 * names. A segment that was appended is never replaced by other bytes (I5).
 */
export interface SegmentLog {
  /**
   * Stores a segment durably and reads it back. `open` is called once for its hash and again for its bytes. Appending the same bytes
   * again succeeds; other bytes under the same name fail with SEGMENT_CONFLICT, and the first ones stay.
   */
  append(
    segment: string,
    open: () => Readable,
    run?: Pick<EngineContext, 'signal' | 'progress'>,
  ): Promise<AppendedSegment>;
  /** The bytes of a segment, checked against its claim: the stream fails with BACKUP_CORRUPT at its end if they differ. NOT_FOUND when it was never appended. */
  read(segment: string, signal: AbortSignal): Promise<Readable>;
  /** The names of the segments from `from` to `to`, both included, in their order. */
  list(range?: { readonly from?: string; readonly to?: string }): Promise<readonly string[]>;
  /**
   * Removes the segments that sort before one, except those that `keep` accepts (such as timeline histories); returns how many.
   * Refuses BACKUP_NEEDED when a backup that is kept needs one of them.
   */
  removeBefore(segment: string, keep?: (segment: string) => boolean): Promise<number>;
  /** Removes what interrupted appends left longer ago than the grace, by the clock of the store. Returns the names of the objects. No append may run meanwhile. */
  sweep(graceMs: number): Promise<readonly string[]>;
}
