import { newestRecoveryPoint } from '@lastgood/core';
import type { DatabaseFacts, RestoreMeasurement, RestoreTime } from '@lastgood/core/objectives';
import { restoreTimeOf } from '@lastgood/core/objectives';
import { type BackupSummary, LIMITS, type TargetInventory } from '@lastgood/protocol';
import type { Coverage } from '../catalog/backup-queries.ts';
import type { BackupAttempt, RestoredCopy } from '../catalog/jobs.ts';

/** What the catalog knows of one target. */
export interface TargetRecords {
  readonly environment: string;
  readonly host: string;
  readonly inventory: TargetInventory;
  readonly coverage: readonly Coverage[];
  readonly measurements: readonly RestoreMeasurement[];
  readonly copies: readonly RestoredCopy[];
  readonly firstSeen: ReadonlyMap<string, number>;
  /** The newest attempts to back up the target, the newest first. */
  readonly backupAttempts: readonly BackupAttempt[];
}

const instantOf = ({ recoveryPoint }: BackupSummary): number => Date.parse(recoveryPoint);

function restoreTimeOfDatabase(database: string, backup: BackupSummary | null, records: TargetRecords): RestoreTime {
  const { environment, host, inventory, measurements } = records;
  if (backup === null) return { basis: 'unknown' };
  const bytes = backup.contents.find(({ name }) => name === database)?.bytes ?? 0;
  const place = { environment, host, target: inventory.name, engine: inventory.engine };
  return restoreTimeOf({ ...place, method: backup.method, content: database, bytes }, measurements);
}

function restoreTestOf(backup: BackupSummary | null): DatabaseFacts['restoreTest'] {
  const verified = backup?.verified ?? null;
  if (backup === null || verified === null) return null;
  return { atMs: Date.parse(verified.at), level: verified.level, backupId: backup.backupId };
}

function factsOf(
  database: string,
  isOnServer: boolean | null,
  covered: Coverage | undefined,
  records: TargetRecords,
): DatabaseFacts {
  const { newest = null, lastGood = null, lastTested = null, firstGood = null } = covered ?? {};
  const { copies, firstSeen, backupAttempts, inventory } = records;
  const firstSeenMs = firstSeen.get(database) ?? null;
  const attempt = backupAttempts.find(
    ({ at, contents }) =>
      firstSeenMs !== null && at > firstSeenMs && (contents === null || contents.includes(database)),
  );
  return {
    database,
    isOnServer,
    isExcluded: inventory.databases.some(({ name, excluded }) => name === database && excluded === true),
    isRestoredCopy: copies.some(({ name }) => name === database),
    firstSeenMs,
    lastAttemptMs: attempt?.at ?? null,
    // The log of a server holds every database that is on it; null: the server is down, and what is stored counts.
    recoveryPoint: newestRecoveryPoint(lastGood, isOnServer === false ? {} : inventory),
    newestBackup: newest === null ? null : { backupId: newest.backupId, atMs: instantOf(newest), state: newest.state },
    firstBackupMs: firstGood === null ? null : instantOf(firstGood),
    restoreTime: restoreTimeOfDatabase(database, lastGood, records),
    restoreTest: restoreTestOf(lastTested),
  };
}

/** The facts of every database that the server of a target has or that a good backup contains, by name. */
export function databaseFacts(records: TargetRecords): DatabaseFacts[] {
  const { inventory, coverage } = records;
  const covered = new Map(coverage.map((each) => [each.database, each]));
  const present = new Set(inventory.databases.map(({ name }) => name));
  // A server that does not answer, or whose list was truncated, does not show which databases are gone.
  const isListed = inventory.state === 'ok' && inventory.databases.length < LIMITS.inventoryDatabases;
  const named = coverage.filter(({ lastGood }) => lastGood !== null || !isListed).map(({ database }) => database);
  return [...new Set([...present, ...named])]
    .sort()
    .map((database) =>
      factsOf(database, present.has(database) || (isListed ? false : null), covered.get(database), records),
    );
}
