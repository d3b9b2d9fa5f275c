import { RESTORE_TEST_LEVEL } from '@lastgood/core';
import { type ControlJob, jobResultSchema } from '@lastgood/protocol';
import { and, count, desc, eq, gt, inArray, isNotNull, lt, max, min, notExists, sql } from 'drizzle-orm';
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
/** How long the newest restore of a database from a backup took, or the newest restore test of a whole backup. */
export interface RestoreTime {
  /** Null for a restore test. */
  readonly database: string | null;
  readonly backupId: string;
  readonly durationMs: number;
  readonly endedAt: number;
}
/** The newest ended job of a command, canceled ones aside. */
export interface LastAttempt {
  readonly command: string;
  readonly at: number;
  readonly succeeded: boolean;
  /** The end of the first failed job since the last one that succeeded; null after a success. */
  readonly failingSince: number | null;
  /** The error code of a failed one. */
  readonly cause: string | null;
}
/** A backup job that ended, canceled ones aside. */
export interface BackupAttempt {
  readonly at: number;
  /** What it was to contain; null for everything. */
  readonly contents: readonly string[] | null;
}
/** A database that a restore made beside another one. */
export interface RestoredCopy {
  readonly name: string;
  readonly of: string;
  readonly jobId: string;
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
  /** The ids of the oldest ended jobs of each host that has more than `quota`; at most `limit`. */
  excess(quota: number, limit: number): Promise<string[]>;
  restoreTimes(agentId: string, target: string): Promise<RestoreTime[]>;
  /** The last attempt of each of these commands that was made. */
  lastAttempts(agentId: string, target: string, commands: readonly string[]): Promise<LastAttempt[]>;
  /** The newest backup jobs that ended, the newest first. */
  backupAttempts(agentId: string, target: string): Promise<BackupAttempt[]>;
  /** The databases that restores have made beside others, the newest restore first. */
  restoredCopies(agentId: string, target: string): Promise<RestoredCopy[]>;
}

const { jobs, backups } = schema;
const NAMED_ROWS = 500;

const recordOf = (row: typeof jobs.$inferSelect): JobRecord => ({
  job: row.job as ControlJob,
  agentId: row.agentId,
  createdBy: row.createdBy,
  idempotencyKey: row.idempotencyKey,
});

type RestoreColumns = Pick<typeof jobs.$inferSelect, 'restoreMs' | 'restoredDatabase' | 'restoredBackupId'>;

/** What the end of a job says about the restore time. */
function restoreColumnsOf(job: ControlJob): RestoreColumns {
  const none = { restoreMs: null, restoredDatabase: null, restoredBackupId: null };
  const result = job.state === 'succeeded' ? jobResultSchema.safeParse(job.result).data : undefined;
  // Some tables of a database measure neither the database nor the backup.
  if (result?.command === 'restore' && result.scope.kind !== 'tables')
    return {
      restoreMs: result.durationMs,
      restoredDatabase: result.scope.kind === 'server' ? null : result.scope.database,
      restoredBackupId: result.backupId,
    };
  if (result?.command === 'verify' && result.passed && result.reached >= RESTORE_TEST_LEVEL)
    return { ...none, restoreMs: result.durationMs, restoredBackupId: result.backupId };
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

const ATTEMPTED = ['succeeded', 'failed', 'expired', 'rejected'];

function selectLastAttempt(db: Db, { agentId, target }: Required<Scoped>, command: string): LastAttempt[] {
  // An occurrence that the agent skipped was not attempted.
  const wasMade = sql`json_extract(${jobs.job}, '$.error.code') is not 'OCCURRENCE_SKIPPED'`;
  const ofCommand = and(eq(jobs.agentId, agentId), eq(jobs.target, target), eq(jobs.command, command), wasMade);
  const [last] = db
    .select()
    .from(jobs)
    .where(and(ofCommand, inArray(jobs.state, ATTEMPTED), isNotNull(jobs.endedAt)))
    .orderBy(desc(jobs.endedAt))
    .limit(1)
    .all();
  if (last === undefined || last.endedAt === null) return [];
  const at = last.endedAt;
  if (last.state === 'succeeded') return [{ command, at, succeeded: true, failingSince: null, cause: null }];
  const success = db
    .select({ at: max(jobs.endedAt) })
    .from(jobs)
    .where(and(ofCommand, eq(jobs.state, 'succeeded')))
    .all()[0];
  const [failure] = db
    .select({ at: min(jobs.endedAt) })
    .from(jobs)
    .where(and(ofCommand, inArray(jobs.state, ATTEMPTED), gt(jobs.endedAt, success?.at ?? 0)))
    .all();
  const cause = recordOf(last).job.error?.code ?? null;
  return [{ command, at, succeeded: false, failingSince: failure?.at ?? at, cause }];
}

const MAX_ATTEMPTS = 100;

function selectBackupAttempts(db: Db, { agentId, target }: Required<Scoped>): BackupAttempt[] {
  const rows = db
    .select()
    .from(jobs)
    .where(
      and(
        eq(jobs.agentId, agentId),
        eq(jobs.target, target),
        eq(jobs.command, 'backup'),
        inArray(jobs.state, ATTEMPTED),
        isNotNull(jobs.endedAt),
      ),
    )
    .orderBy(desc(jobs.endedAt))
    .limit(MAX_ATTEMPTS)
    .all();
  return rows.flatMap((row) => {
    const { spec, endedAt } = recordOf(row).job;
    return spec.command === 'backup' && endedAt !== null ? [{ at: endedAt, contents: spec.contents }] : [];
  });
}

const MAX_COPIES = 500;

function selectCopies(db: Db, { agentId, target }: Required<Scoped>): RestoredCopy[] {
  const rows = db
    .select()
    .from(jobs)
    .where(
      and(eq(jobs.agentId, agentId), eq(jobs.target, target), eq(jobs.command, 'restore'), eq(jobs.state, 'succeeded')),
    )
    .orderBy(desc(jobs.endedAt))
    .limit(MAX_COPIES)
    .all();
  return rows.flatMap((row) => {
    const { job } = recordOf(row);
    const result = jobResultSchema.safeParse(job.result).data;
    if (result?.command !== 'restore' || result.scope.kind !== 'database') return [];
    const { database } = result.scope;
    const isBeside = job.spec.command === 'restore' && job.spec.request.into.way === 'new';
    return isBeside && result.into !== database ? [{ name: result.into, of: database, jobId: job.jobId }] : [];
  });
}

function selectExcess(db: Db, quota: number, limit: number): string[] {
  const full = db
    .select({ agentId: jobs.agentId, rows: count() })
    .from(jobs)
    .groupBy(jobs.agentId)
    .having(gt(count(), quota))
    .all();
  const ids = full.flatMap(({ agentId, rows }) =>
    db
      .select({ jobId: jobs.jobId })
      .from(jobs)
      .where(and(eq(jobs.agentId, agentId), isNotNull(jobs.endedAt)))
      .orderBy(jobs.createdAt)
      .limit(Math.min(limit, rows - quota))
      .all(),
  );
  return ids.slice(0, limit).map(({ jobId }) => jobId);
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
  excess: async (quota, limit) => selectExcess(db, quota, limit),
  restoreTimes: async (agentId, target) =>
    // SQLite guarantees that the other columns come from the row that holds the maximum.
    db
      .select({
        database: jobs.restoredDatabase,
        backupId: jobs.restoredBackupId,
        durationMs: jobs.restoreMs,
        endedAt: max(jobs.endedAt),
      })
      .from(jobs)
      .where(and(eq(jobs.agentId, agentId), eq(jobs.target, target), isNotNull(jobs.restoreMs)))
      .groupBy(jobs.restoredDatabase, jobs.restoredBackupId)
      .all()
      .flatMap(({ durationMs, endedAt, backupId, database }) =>
        durationMs === null || endedAt === null || backupId === null
          ? []
          : [{ database, backupId, durationMs, endedAt }],
      ),
  lastAttempts: async (agentId, target, commands) =>
    commands.flatMap((command) => selectLastAttempt(db, { agentId, target }, command)),
  backupAttempts: async (agentId, target) => selectBackupAttempts(db, { agentId, target }),
  restoredCopies: async (agentId, target) => selectCopies(db, { agentId, target }),
});
