import { RESTORE_TEST_LEVEL } from '@lastgood/core';
import {
  type BackupSummary,
  type ControlJob,
  type DatabaseStatus,
  type JobResult,
  jobResultSchema,
  LIMITS,
  type TargetInventory,
} from '@lastgood/protocol';
import type { Coverage } from '../catalog/backup-queries.ts';

/** How long the latest restore of the database took, or the proof of the backup that proves it, whichever was later. */
function restoreMsOf(database: string, proven: BackupSummary | null, newestFirst: readonly JobResult[]): number | null {
  for (const result of newestFirst) {
    if (result.command === 'restore' && result.database === database) return result.durationMs;
    if (
      result.command === 'verify' &&
      result.passed &&
      result.reached >= RESTORE_TEST_LEVEL &&
      result.backupId === proven?.backupId
    )
      return result.durationMs;
  }
  return null;
}

/** The results of the succeeded jobs of a target, newest first. */
function resultsOf(target: string, jobs: Iterable<ControlJob>): JobResult[] {
  return [...jobs]
    .filter(({ spec, state }) => spec.target === target && state === 'succeeded')
    .sort((a, b) => (b.endedAt ?? 0) - (a.endedAt ?? 0))
    .flatMap((job) => jobResultSchema.safeParse(job.result).data ?? []);
}

/** Answers for every database that the server of a target has or that a good backup holds; by name. */
export function databaseStatuses(
  { name, state, databases }: TargetInventory,
  coverage: readonly Coverage[],
  jobs: Iterable<ControlJob>,
): DatabaseStatus[] {
  const covered = new Map(coverage.map((each) => [each.database, each]));
  const present = new Set(databases.map((database) => database.name));
  // A server that does not answer, or whose list was cut, does not say which databases are gone.
  const listed = state === 'ok' && databases.length < LIMITS.inventoryDatabases;
  const results = resultsOf(name, jobs);
  return [...new Set([...present, ...covered.keys()])].sort().map((database) => {
    const { lastGood = null, lastProven = null } = covered.get(database) ?? {};
    const verified = lastProven?.verified ?? null;
    return {
      database,
      onServer: present.has(database) || (listed ? false : null),
      goesBackTo: lastGood === null ? null : { backupId: lastGood.backupId, snapshotAt: lastGood.snapshotAt },
      proven:
        lastProven === null || verified === null
          ? null
          : {
              backupId: lastProven.backupId,
              snapshotAt: lastProven.snapshotAt,
              at: verified.at,
              level: verified.level,
            },
      restoreMs: restoreMsOf(database, lastProven, results),
    };
  });
}
