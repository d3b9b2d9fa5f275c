import type { Retention } from '@lastgood/protocol';
import type { Judged } from '../verification/verdict.ts';

/** The part of a backup that belongs to one database (or to the whole target). Retention counts the backups of each group. */
export interface GroupPart {
  /** Same engine, method and content. */
  readonly group: string;
  /** The name of the content, for display; null when the backup covers the whole target. */
  readonly content: string | null;
  readonly producedBytes: number;
}
export interface RotationCandidate extends Judged {
  readonly backupId: string;
  readonly sequence: number;
  readonly finishedAt: string;
  /** At least one. A backup stays as long as one of its groups needs it. */
  readonly parts: readonly GroupPart[];
  /** The other backups that a restore reads. They are kept as long as this one. */
  readonly dependsOn: readonly string[];
}
/** The host limits of the agent file. They override what the control plane requests. */
export interface HostLimits {
  readonly minimumKept: number;
  readonly maxRemovedPerRun: number;
  readonly maxRemovedPerDay: number;
  readonly minimumAgeHours: number;
  /** Of so many days and weeks that have good backups, the first one is kept: later backups cannot displace it. */
  readonly keepDaily: number;
  readonly keepWeekly: number;
}
export interface RotationInput {
  readonly backups: readonly RotationCandidate[];
  readonly retention: Retention;
  readonly holds: ReadonlySet<string>;
  readonly inUse: ReadonlySet<string>;
  /** The clock of the host, of the store and of the control plane (null when it is not known), in ms since the epoch. */
  readonly now: number;
  readonly storeNow: number;
  readonly controlNow: number | null;
  /** The last observed jump of the host clock, in ms; 0 when there was none lately. */
  readonly jumpedMs: number;
  readonly hostLimits: HostLimits;
  /** How many backups of the target were removed in the last 24 hours. */
  readonly removedLastDay: number;
  /**
   * The host has accepted the sizes of the backups up to this sequence; null when it has accepted none. A later change of size protects
   * what was there before it.
   */
  readonly acceptedSequence: number | null;
}
