import { type BackupSummary, type DatabaseStatus, LIMITS, type TargetInventory } from '@lastgood/protocol';
import type { Coverage } from '../catalog/backup-queries.ts';
import type { RestoreTime } from '../catalog/jobs.ts';

/** How long the newest restore of the database took, or the newest restore test of `tested`, whichever is later. */
function restoreMsOf(database: string, tested: BackupSummary | null, times: readonly RestoreTime[]): number | null {
  const [newest] = times
    .filter((time) => time.database === database || (tested !== null && time.backupId === tested.backupId))
    .toSorted((a, b) => b.endedAt - a.endedAt);
  return newest?.durationMs ?? null;
}

/** The status of every database that the server of a target has or that a good backup holds, by name. */
export function databaseStatuses(
  { state, databases }: TargetInventory,
  coverage: readonly Coverage[],
  restoreTimes: readonly RestoreTime[],
): DatabaseStatus[] {
  const covered = new Map(coverage.map((each) => [each.database, each]));
  const present = new Set(databases.map((database) => database.name));
  // A server that does not answer, or whose list was truncated, does not show which databases are gone.
  const listed = state === 'ok' && databases.length < LIMITS.inventoryDatabases;
  return [...new Set([...present, ...covered.keys()])].sort().map((database) => {
    const { lastGood = null, lastProven = null } = covered.get(database) ?? {};
    const verified = lastProven?.verified ?? null;
    return {
      database,
      onServer: present.has(database) || (listed ? false : null),
      goesBackTo: lastGood === null ? null : { backupId: lastGood.backupId, recoveryPoint: lastGood.recoveryPoint },
      proven:
        lastProven === null || verified === null
          ? null
          : {
              backupId: lastProven.backupId,
              recoveryPoint: lastProven.recoveryPoint,
              at: verified.at,
              level: verified.level,
            },
      restoreMs: restoreMsOf(database, lastProven, restoreTimes),
    };
  });
}
