import type { Readable } from 'node:stream';
import type { EngineContext } from './engine-context.ts';

export interface AppendedSegment {
  readonly segment: string;
  /** Size and SHA-256 of the segment as the engine wrote it, and as stored. */
  readonly produced: { readonly size: number; readonly sha256: string };
  readonly stored: { readonly size: number; readonly sha256: string };
  /** False when the same bytes were already appended. */
  readonly isNew: boolean;
}

/**
 * The segments of one log stream of a target, such as WAL files or transaction logs. The engine names the segments; they sort by name.
 * An appended segment is never replaced by other bytes (I5).
 */
export interface SegmentLog {
  /**
   * Stores a segment durably and reads it back. Calls `open` twice: to hash the bytes and to store them. Appending the same bytes again
   * succeeds. Other bytes under the same name fail with SEGMENT_CONFLICT; the first segment stays.
   */
  append(
    segment: string,
    open: () => Readable,
    run?: Pick<EngineContext, 'signal' | 'progress'>,
  ): Promise<AppendedSegment>;
  /** Opens a segment; throws NOT_FOUND when it was never appended. The stream fails with BACKUP_CORRUPT at its end if its hash is wrong. */
  read(segment: string, signal: AbortSignal): Promise<Readable>;
  /** Lists the segment names from `from` to `to` (inclusive), sorted. */
  list(range?: { readonly from?: string; readonly to?: string }): Promise<readonly string[]>;
  /**
   * Removes all segments before `segment` except those that `keep` accepts, such as timeline histories. Returns their number. Throws
   * BACKUP_NEEDED when a backup needs one of them.
   */
  removeBefore(segment: string, keep?: (segment: string) => boolean): Promise<number>;
  /** Removes the leftovers of interrupted appends older than `graceMs`, by the store's clock. Returns their names. No append may run meanwhile. */
  sweep(graceMs: number): Promise<readonly string[]>;
}
