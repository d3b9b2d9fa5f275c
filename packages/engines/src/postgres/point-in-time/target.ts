import type { BackupSpan, PathSegment, WalHoldings } from '../wal/continuity.ts';
import type { Micros } from '../wal/instant.ts';
import type { Lsn } from '../wal/lsn.ts';
import type { RestorePoint } from '../wal/segment-reader.ts';

/** What an operator asks for. */
export type RecoveryTarget =
  /** Everything that was committed up to and at this instant. */
  | { readonly kind: 'time'; readonly at: Micros }
  /** Everything that was written before this position. */
  | { readonly kind: 'lsn'; readonly lsn: Lsn }
  /** Up to and with this transaction. `lsn` is where its commit was found in the WAL. */
  | { readonly kind: 'transaction'; readonly xid: string; readonly lsn: Lsn }
  /** A name given by `pg_create_restore_point`. */
  | { readonly kind: 'name'; readonly name: string }
  /** As much as there is. */
  | { readonly kind: 'latest' }
  /** The end of one backup, with none of the WAL after it. */
  | { readonly kind: 'backup'; readonly id: string };

/** Where PostgreSQL stops, as one of its recovery targets. */
export type RecoveryStop =
  | { readonly kind: 'time'; readonly at: Micros }
  /** Before the first record that begins at this position or later. */
  | { readonly kind: 'before-lsn'; readonly lsn: Lsn }
  /** After the last record that is stored. Without a target, PostgreSQL takes damage for the end of the WAL and reports no error. */
  | { readonly kind: 'end'; readonly lastRecordLsn: Lsn }
  | { readonly kind: 'transaction'; readonly xid: string; readonly lsn: Lsn }
  | { readonly kind: 'name'; readonly name: string; readonly lsn: Lsn }
  | { readonly kind: 'immediate' };

export interface RecoveryPlan {
  readonly kind: 'plan';
  readonly backupId: string;
  readonly timeline: number;
  /** Every WAL file that is read, in the order of replay. */
  readonly files: readonly PathSegment[];
  readonly stop: RecoveryStop;
  /** The instant whose state comes back; null when only the position is known. */
  readonly reachesAt: Micros | null;
  /** A replay that ends before `fromLsn` or after `endLsn` has not done what was planned. */
  readonly fromLsn: Lsn;
  readonly endLsn: Lsn;
  /** The WAL that is stored goes on behind a gap, and is not used. */
  readonly endsAtGap: boolean;
}

/** Why there is no plan. The fields are for the message. */
export type RecoveryRefusal =
  | { readonly code: 'no-backup' }
  | { readonly code: 'unknown-timeline'; readonly timeline: number }
  | { readonly code: 'in-future'; readonly now: Micros }
  /** Older than the end of the oldest backup that reaches this timeline. */
  | { readonly code: 'before-first-point'; readonly firstAt: Micros; readonly firstLsn: Lsn }
  /** WAL is missing on the way. The last instant before the gap and the first after it; null when there is none. */
  | {
      readonly code: 'in-gap';
      readonly lastAt: Micros | null;
      readonly nextAt: Micros | null;
      readonly missingFrom: Lsn;
    }
  /** The WAL of this point is not stored yet, or does not exist. */
  | { readonly code: 'not-archived'; readonly lastAt: Micros | null; readonly storedTo: Lsn }
  | { readonly code: 'unknown-name' }
  /** The name was given more than once: choose one by its position. */
  | { readonly code: 'ambiguous-name'; readonly points: readonly RestorePoint[] };
export type RecoveryDecision = RecoveryPlan | ({ readonly kind: 'refusal' } & RecoveryRefusal);

export interface BackupRecord extends BackupSpan {
  /** The clock of the server after the end of the backup. */
  readonly finishedAt: Micros;
}
/** What is known of a stored WAL file. */
export interface StoredContent {
  readonly latestXactAt: Micros | null;
  readonly restorePoints: readonly RestorePoint[];
  readonly lastRecordLsn: Lsn | null;
  readonly endLsn: Lsn;
}
export interface RecoverySource {
  readonly holdings: WalHoldings;
  readonly backups: readonly BackupRecord[];
  /** Of every stored file, by `contentKey`. */
  readonly contents: ReadonlyMap<string, StoredContent>;
  /** The clock and the end of WAL of the server when both were last read together; null when never. */
  readonly observed: { readonly at: Micros; readonly lsn: Lsn } | null;
  readonly now: Micros;
}

export const contentKey = ({ timeline, number, isPartial }: PathSegment): string =>
  `${timeline}/${number}${isPartial ? '.partial' : ''}`;
