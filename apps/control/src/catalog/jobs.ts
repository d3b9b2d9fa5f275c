import { RESTORE_TEST_LEVEL } from '@lastgood/core';
import { type ControlJob, jobResultSchema } from '@lastgood/protocol';
import { and, desc, eq, inArray, isNotNull, lt, max, notExists } from 'drizzle-orm';
import type { Appliers, Db, Scoped } from './db.ts';
import * as schema from './schema.ts';

export interface JobRecord {
  readonly job: ControlJob;
  readonly agentId: string;
  readonly createdBy: string;
  readonly idempotencyKey: string | null;
}
export type JobChange =
  | { readonly type: 'job.create'; readonly record: JobRecord }
  /** Removes ended jobs whose time is over. */
  | { readonly type: 'job.forget'; readonly jobIds: readonly string[] };
/** How long the newest restore of a database took, or the newest restore test of a backup. */
export interface RestoreTime {
  readonly database: string | null;
  readonly backupId: string | null;
  readonly durationMs: number;
  readonly endedAt: number;
}
export interface JobQueries {
  get(jobId: string): Promise<JobRecord | undefined>;
  /** The jobs with these ids, whatever agent they belong to. */
  named(jobIds: readonly string[]): Promise<JobRecord[]>;
  byKey(createdBy: string, idempotencyKey: string): Promise<JobRecord | undefined>;
  /** The newest first. */
  list(scope: Scoped, limit: number): Promise<JobRecord[]>;
  /** The ids of jobs whose end was recorded before that instant and whose backup, if any, is gone; the oldest first. */
  forgettable(before: number, limit: number): Promise<string[]>;
  /** The newest attempt of a command on a target that ended by themselves: those that were canceled or skipped do not count. */
  lastAttempt(agentId: string, target: string, command: string): Promise<ControlJob | undefined>;
  restoreTimes(agentId: string, target: string): Promise<RestoreTime[]>;
}

const { jobs, backups } = schema;
const NAMED_ROWS = 500;
/** Of the newest jobs so many are looked at for one that was not skipped. */
const ATTEMPT_ROWS = 200;

const recordOf = (row: typeof jobs.$inferSelect): JobRecord => ({
  job: row.job as ControlJob,
  agentId: row.agentId,
  createdBy: row.createdBy,
  idempotencyKey: row.idempotencyKey,
});

type RestoreColumns = Pick<typeof jobs.$inferSelect, 'restoreMs' | 'restoredDatabase' | 'testedBackupId'>;

/** What the end of a job says about the restore time. */
function restoreColumnsOf(job: ControlJob): RestoreColumns {
  const none = { restoreMs: null, restoredDatabase: null, testedBackupId: null };
  const result = job.state === 'succeeded' ? jobResultSchema.safeParse(job.result).data : undefined;
  if (result?.command === 'restore')
    return {
      ...none,
      restoreMs: result.durationMs,
      restoredDatabase: result.scope.kind === 'server' ? null : result.scope.database,
    };
  if (result?.command === 'verify' && result.passed && result.reached >= RESTORE_TEST_LEVEL)
    return { ...none, restoreMs: result.durationMs, testedBackupId: result.backupId };
  return none;
}

/** The columns of a job's row that follow from the job, as it is recorded at this instant. */
export const columnsOf = (job: ControlJob, now: number) => ({
  jobId: job.jobId,
  target: job.spec.target,
  command: job.spec.command,
  state: job.state,
  endedAt: job.endedAt,
  endRecordedAt: job.endedAt === null ? null : now,
  ...restoreColumnsOf(job),
  job,
});

export const jobAppliers: Appliers<JobChange> = {
  'job.create': (db, { record: { job, agentId, createdBy, idempotencyKey } }) => {
    db.insert(jobs)
      .values({ ...columnsOf(job, job.createdAt), agentId, createdAt: job.createdAt, createdBy, idempotencyKey })
      .run();
  },
  'job.forget': (db, { jobIds }) => {
    if (jobIds.length > 0)
      db.delete(jobs)
        .where(inArray(jobs.jobId, [...jobIds]))
        .run();
  },
};

function selectLastAttempt(db: Db, agentId: string, target: string, command: string): ControlJob | undefined {
  const ended = inArray(jobs.state, ['succeeded', 'failed', 'expired', 'rejected']);
  return db
    .select()
    .from(jobs)
    .where(and(eq(jobs.agentId, agentId), eq(jobs.target, target), eq(jobs.command, command), ended))
    .orderBy(desc(jobs.createdAt), desc(jobs.jobId))
    .limit(ATTEMPT_ROWS)
    .all()
    .map((row) => row.job as ControlJob)
    .find(({ error }) => error?.code !== 'OCCURRENCE_SKIPPED');
}

export const jobQueries = (db: Db): JobQueries => ({
  get: async (jobId) => db.select().from(jobs).where(eq(jobs.jobId, jobId)).all().map(recordOf)[0],
  byKey: async (createdBy, idempotencyKey) =>
    db
      .select()
      .from(jobs)
      .where(and(eq(jobs.createdBy, createdBy), eq(jobs.idempotencyKey, idempotencyKey)))
      .all()
      .map(recordOf)[0],
  list: async ({ agentId, target }, limit) =>
    db
      .select()
      .from(jobs)
      .where(
        and(
          agentId === undefined ? undefined : eq(jobs.agentId, agentId),
          target === undefined ? undefined : eq(jobs.target, target),
        ),
      )
      .orderBy(desc(jobs.createdAt), desc(jobs.jobId))
      .limit(limit)
      .all()
      .map(recordOf),
  named: async (jobIds) => {
    const found: JobRecord[] = [];
    for (let start = 0; start < jobIds.length; start += NAMED_ROWS) {
      const some = jobIds.slice(start, start + NAMED_ROWS);
      found.push(...db.select().from(jobs).where(inArray(jobs.jobId, some)).all().map(recordOf));
    }
    return found;
  },
  forgettable: async (before, limit) => {
    const itsBackup = db.select({ backupId: backups.backupId }).from(backups).where(eq(backups.jobId, jobs.jobId));
    return db
      .select({ jobId: jobs.jobId })
      .from(jobs)
      .where(and(lt(jobs.endRecordedAt, before), notExists(itsBackup)))
      .orderBy(jobs.endRecordedAt)
      .limit(limit)
      .all()
      .map(({ jobId }) => jobId);
  },
  lastAttempt: async (agentId, target, command) => selectLastAttempt(db, agentId, target, command),
  restoreTimes: async (agentId, target) =>
    // SQLite guarantees that the other columns come from the row that holds the maximum.
    db
      .select({
        database: jobs.restoredDatabase,
        backupId: jobs.testedBackupId,
        durationMs: jobs.restoreMs,
        endedAt: max(jobs.endedAt),
      })
      .from(jobs)
      .where(and(eq(jobs.agentId, agentId), eq(jobs.target, target), isNotNull(jobs.restoreMs)))
      .groupBy(jobs.restoredDatabase, jobs.testedBackupId)
      .all()
      .flatMap(({ durationMs, endedAt, ...of }) =>
        durationMs === null || endedAt === null ? [] : [{ ...of, durationMs, endedAt }],
      ),
});
