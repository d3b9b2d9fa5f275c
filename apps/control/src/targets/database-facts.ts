import { newestRecoveryPoint } from '@lastgood/core';
import { type DatabaseFacts, type RestoreTime, restoreTimeOf } from '@lastgood/core/objectives';
import { type BackupSummary, LIMITS } from '@lastgood/protocol';
import type { Coverage } from '../catalog/backup-queries.ts';
import type { Measurements } from './measurement-index.ts';
import type { TargetRecords } from './target-records.ts';

const instantOf = ({ recoveryPoint }: BackupSummary): number => Date.parse(recoveryPoint);

function restoreTimeOfDatabase(
  database: string,
  backup: BackupSummary | null,
  { environment, host, inventory }: TargetRecords,
  measurements: Measurements,
): RestoreTime {
  if (backup === null) return { basis: 'unknown' };
  const bytes = backup.contents.find(({ name }) => name === database)?.bytes ?? 0;
  const place = { environment, host, target: inventory.name, engine: inventory.engine };
  const subject = { ...place, method: backup.method, content: database, bytes };
  return restoreTimeOf(subject, measurements.relevantTo(subject));
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
  measurements: Measurements,
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
    restoreTime: restoreTimeOfDatabase(database, lastGood, records, measurements),
    restoreTest: restoreTestOf(lastTested),
  };
}

/**
 * The facts of every database that the server of a target has or that a good backup contains, by name. `measurements` are those of the
 * fleet, with which a restore is estimated.
 */
export function databaseFacts(records: TargetRecords, measurements: Measurements): DatabaseFacts[] {
  const { inventory, coverage } = records;
  const covered = new Map(coverage.map((each) => [each.database, each]));
  const present = new Set(inventory.databases.map(({ name }) => name));
  // A server that does not answer, or whose list was truncated, does not show which databases are gone.
  const isListed = inventory.state === 'ok' && inventory.databases.length < LIMITS.inventoryDatabases;
  const named = coverage.filter(({ lastGood }) => lastGood !== null || !isListed).map(({ database }) => database);
  return [...new Set([...present, ...named])]
    .sort()
    .map((database) =>
      factsOf(
        database,
        present.has(database) || (isListed ? false : null),
        covered.get(database),
        records,
        measurements,
      ),
    );
}
