import type { RestoreTime } from './restore-time.ts';
import {
  exposureOf,
  judgeProtection,
  judgeSurroundings,
  type StatusReason,
  stateOf,
  type TargetFacts,
  type TargetState,
  worstFirst,
  worstState,
} from './target-status.ts';

/** How long a database may be without a backup when no schedule and no objective says when the first one is due. */
const FIRST_BACKUP_GRACE_MS = 24 * 3_600_000;

/** What is known of one database of a target. */
export interface DatabaseFacts
  extends Pick<TargetFacts, 'recoveryPoint' | 'newestBackup' | 'firstBackupMs' | 'restoreTime' | 'restoreTest'> {
  readonly database: string;
  /** Null when the server does not answer, or its list was truncated. */
  readonly isOnServer: boolean | null;
  /** The agent file excludes it from backups. */
  readonly isExcluded: boolean;
  /** It was restored beside another database (`--to-new`). */
  readonly isRestoredCopy: boolean;
  /** When the server first reported it to this catalog; null when it never did. */
  readonly firstSeenMs: number | null;
  /** When a backup that was to contain it was last attempted since then; null without one. */
  readonly lastAttemptMs: number | null;
}

export interface DatabaseStatus {
  readonly database: string;
  /** Null for a database that is excluded from backups: it is not judged. */
  readonly state: TargetState | null;
  /** Worst first; those of the target as a whole are not among them. */
  readonly reasons: readonly StatusReason[];
  readonly exposureMs: number | null;
  readonly restoreTime: RestoreTime;
  /** The last restore test was of the backup that the recovery point comes from. */
  readonly isRecoveryPointTested: boolean;
}

/** The facts that are the same for all databases of a target. */
export type SharedFacts = Omit<
  TargetFacts,
  'recoveryPoint' | 'newestBackup' | 'firstBackupMs' | 'restoreTime' | 'restoreTest' | 'lastAttemptMs'
>;

/** A database that is gone from its server is listed as long as backups contain it; no new backup or test can be due. */
const OF_GONE = {
  objectives: { rpoMs: null, rtoMs: null, restoreTestMs: Number.POSITIVE_INFINITY },
  maxAgeMs: null,
} as const;

/** The latest time of the first backup: a copy that was restored beside has none, for it may be dropped before the next backup. */
function firstBackupDue(shared: SharedFacts, { isRestoredCopy, firstSeenMs }: DatabaseFacts): number | null {
  if (isRestoredCopy) return Number.POSITIVE_INFINITY;
  if (shared.firstBackupDueMs !== null) return shared.firstBackupDueMs;
  return firstSeenMs === null ? null : firstSeenMs + (shared.objectives?.rpoMs ?? FIRST_BACKUP_GRACE_MS);
}

function reasonsOf(shared: SharedFacts, database: DatabaseFacts, nowMs: number): StatusReason[] {
  if (database.isExcluded) return [];
  const { recoveryPoint, newestBackup, firstBackupMs, restoreTime, restoreTest, isRestoredCopy } = database;
  const isGone = database.isOnServer === false;
  const facts: TargetFacts = {
    ...shared,
    ...(isGone ? OF_GONE : {}),
    recoveryPoint,
    newestBackup,
    firstBackupMs,
    restoreTime,
    restoreTest,
    // A copy that no backup contains stays pending, whatever was attempted.
    lastAttemptMs: isRestoredCopy ? null : database.lastAttemptMs,
    firstBackupDueMs: firstBackupDue(shared, database),
  };
  return worstFirst(judgeProtection(facts, nowMs));
}

/** The status of one database. `surroundings` are the reasons of its target as a whole; they lower its state as well. */
function evaluateDatabase(
  shared: SharedFacts,
  database: DatabaseFacts,
  surroundings: readonly StatusReason[],
  nowMs: number,
): DatabaseStatus {
  const reasons = reasonsOf(shared, database, nowMs);
  const { recoveryPoint, restoreTest, restoreTime } = database;
  return {
    database: database.database,
    state: database.isExcluded ? null : worstState([...reasons, ...surroundings].map(stateOf)),
    reasons,
    exposureMs: exposureOf(database, nowMs),
    restoreTime,
    isRecoveryPointTested: restoreTest !== null && restoreTest.backupId === recoveryPoint?.backupId,
  };
}

/** The status of a target whose backups contain databases: its own reasons, and each database. The worst of them is its state. */
export function evaluateDatabases(
  shared: SharedFacts,
  databases: readonly DatabaseFacts[],
  nowMs: number,
): { state: TargetState; reasons: StatusReason[]; databases: DatabaseStatus[] } {
  const isEmpty = databases.every(({ isExcluded, isOnServer }) => isExcluded || isOnServer === false);
  const nothing = isEmpty && databases.length > 0 ? [{ code: 'nothing_to_protect' } as const] : [];
  const reasons = worstFirst([...judgeSurroundings(shared), ...nothing]);
  const statuses = databases.map((database) => evaluateDatabase(shared, database, reasons, nowMs));
  const states = statuses.flatMap(({ state }) => (state === null ? [] : [state]));
  return { state: worstState([...states, ...reasons.map(stateOf)]), reasons, databases: statuses };
}
