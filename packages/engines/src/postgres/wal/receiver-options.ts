import type { Clock } from '@lastgood/core';
import type { PostgresConnection } from '../connection-schema.ts';
import type { Micros } from './instant.ts';
import type { Lsn } from './lsn.ts';
import type { ReceiverRefusal, StoredWal } from './receiver-start.ts';
import type { SegmentSink } from './segment-sink.ts';
import type { DrainOutcome } from './spool-drain.ts';

export interface ReceiverOptions {
  readonly connection: PostgresConnection;
  readonly slot: string;
  /** A private folder for this stream alone. */
  readonly spoolFolder: string;
  /** Complete segments that may wait for the repository; beyond it nothing more is received, and the server keeps the WAL. */
  readonly spoolSegments: number;
  readonly sink: SegmentSink;
  /** What is stored when the receiver starts. */
  readonly stored: StoredWal;
  /** What the server may forget: what is in the repository, or what is durable in the spool already. */
  readonly acknowledge: 'repository' | 'spool';
  /** Start at the slot although segments before it are missing. The caller has recorded the gap. */
  readonly afterGap: boolean;
  readonly clock: Clock;
  /** Called when a position moves, for status and metrics. Must not throw. */
  onState(state: ReceiverState): void;
}

/** Where a stream is. Positions are ends: everything before them is there. */
export interface ReceiverState {
  readonly timeline: number;
  readonly receivedLsn: Lsn;
  /** Durable in the spool. */
  readonly spooledLsn: Lsn;
  /** Durable in the repository. */
  readonly storedLsn: Lsn;
  /** The end of WAL at the server, and its clock, when it last sent something. */
  readonly serverLsn: Lsn;
  readonly serverAt: Micros | null;
  readonly waitingSegments: number;
}

export type ReceiverOutcome =
  | { readonly kind: 'stopped' }
  | { readonly kind: 'refused'; readonly code: ReceiverRefusal }
  /** The server no longer has the WAL from `from` on. `to` is where the slot is now; null when it is not known. */
  | { readonly kind: 'gap'; readonly timeline: number; readonly from: Lsn; readonly to: Lsn | null }
  /** A file of the spool is damaged, or other bytes are stored under its name. It stays in the spool. */
  | DrainOutcome;
