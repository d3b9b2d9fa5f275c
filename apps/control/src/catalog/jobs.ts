import type { ControlJob } from '@lastgood/protocol';
import { and, desc, eq, lt, not, sql } from 'drizzle-orm';
import type { Appliers, Db, Scoped } from './db.ts';
import * as schema from './schema.ts';

export interface JobRecord {
  readonly job: ControlJob;
  readonly agentId: string;
  readonly createdAt: number;
  readonly createdBy: string;
  readonly idempotencyKey: string | null;
}
export type JobChange =
  | { readonly type: 'job.create'; readonly record: JobRecord }
  /** Removes ended jobs whose time is over. */
  | { readonly type: 'job.forget'; readonly jobIds: readonly string[] };
export interface JobQueries {
  get(jobId: string): Promise<JobRecord | undefined>;
  byKey(createdBy: string, idempotencyKey: string): Promise<JobRecord | undefined>;
  /** The newest first. */
  list(scope: Scoped, limit: number): Promise<JobRecord[]>;
  /** Jobs that ended before that instant and whose backup, if any, is gone; the oldest first. */
  forgettable(before: number, limit: number): Promise<{ jobId: string; agentId: string }[]>;
}

const { jobs, backups } = schema;

const recordOf = (row: typeof jobs.$inferSelect): JobRecord => ({
  job: row.ledger as ControlJob,
  agentId: row.agentId,
  createdAt: row.createdAt,
  createdBy: row.createdBy,
  idempotencyKey: row.idempotencyKey,
});

export const jobAppliers: Appliers<JobChange> = {
  'job.create': (db, { record: { job, agentId, createdAt, createdBy, idempotencyKey } }) => {
    const { jobId, spec, state } = job;
    const row = { jobId, agentId, target: spec.target, command: spec.command, state, ledger: job };
    db.insert(jobs)
      .values({ ...row, createdAt, createdBy, idempotencyKey })
      .run();
  },
  'job.forget': (db, { jobIds }) => {
    for (const jobId of jobIds) db.delete(jobs).where(eq(jobs.jobId, jobId)).run();
  },
};

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
  forgettable: async (before, limit) => {
    const ended = sql`json_extract(${jobs.ledger}, '$.endedAt') < ${before}`;
    const taken = sql`exists (select 1 from ${backups} where json_extract(${backups.summary}, '$.jobId') = ${jobs.jobId})`;
    return db
      .select({ jobId: jobs.jobId, agentId: jobs.agentId })
      .from(jobs)
      .where(and(lt(jobs.createdAt, before), ended, not(taken)))
      .orderBy(jobs.createdAt)
      .limit(limit)
      .all();
  },
});
