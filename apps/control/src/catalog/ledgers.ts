import { Failure } from '@lastgood/core';
import { type AgentCommand, type ControlJob, type ControlLedger, creatorOf } from '@lastgood/protocol';
import { and, eq, isNull } from 'drizzle-orm';
import type { Appliers, Db } from './db.ts';
import { columnsOf } from './jobs.ts';
import { readIncarnation } from './meta.ts';
import { saveOccurrence } from './occurrences.ts';
import * as schema from './schema.ts';

/** The step from one ledger of an agent to the next; only what differs is written. */
export type LedgerChange = {
  readonly type: 'ledger';
  readonly before: ControlLedger | null;
  readonly after: ControlLedger;
  readonly now: number;
};
export interface LedgerQueries {
  /** The ledger of every agent, with its open jobs. */
  list(): Promise<ControlLedger[]>;
}

/**
 * Job objects are replaced, never changed, so identity shows what differs. Throws CONFLICT for an id that belongs to another
 * agent: an id cannot be taken over.
 */
function saveJobs(db: Db, { before, after, now }: LedgerChange): void {
  const { agentId } = after;
  for (const [jobId, job] of after.jobs) {
    if (before?.jobs.get(jobId) === job) continue;
    const columns = columnsOf(job, now);
    // A job that only the agent knew gets its row here: its agent has created it, or the catalog was lost.
    const { changes } = db
      .insert(schema.jobs)
      .values({ ...columns, agentId, createdAt: job.createdAt, createdBy: creatorOf(job.origin), idempotencyKey: null })
      .onConflictDoUpdate({ target: schema.jobs.jobId, set: columns, setWhere: eq(schema.jobs.agentId, agentId) })
      .run();
    if (changes === 0) throw new Failure('CONFLICT', `job ${jobId} belongs to another host`);
    saveOccurrence(db, agentId, job);
  }
}

function saveOutbox(db: Db, before: ControlLedger | null, { agentId, outbox }: ControlLedger): void {
  if (before?.outbox === outbox) return;
  const kept = new Map(outbox.map((command) => [command.seq, command]));
  const had = new Map((before?.outbox ?? []).map((command) => [command.seq, command]));
  for (const seq of had.keys())
    if (!kept.has(seq))
      db.delete(schema.commands)
        .where(and(eq(schema.commands.agentId, agentId), eq(schema.commands.seq, seq)))
        .run();
  for (const [seq, command] of kept) {
    if (had.get(seq) === command) continue;
    db.insert(schema.commands)
      .values({ agentId, seq, command })
      .onConflictDoUpdate({ target: [schema.commands.agentId, schema.commands.seq], set: { command } })
      .run();
  }
}

export const ledgerAppliers: Appliers<LedgerChange> = {
  ledger: (db, change) => {
    const { agentId, mergedIncarnation, completeSince, epoch, commandSeq, acked } = change.after;
    const counters = { agentId, mergedIncarnation, completeSince, epoch, commandSeq, acked };
    const { schedules } = change.after;
    // A set is large and rarely changes.
    const set = change.before?.schedules === schedules ? counters : { ...counters, schedules };
    db.insert(schema.ledgers)
      .values({ ...counters, schedules })
      .onConflictDoUpdate({ target: schema.ledgers.agentId, set })
      .run();
    saveJobs(db, change);
    saveOutbox(db, change.before, change.after);
  },
};

export const ledgerQueries = (db: Db): LedgerQueries => ({
  list: async () => {
    const incarnation = readIncarnation(db);
    const jobs = Map.groupBy(
      db.select().from(schema.jobs).where(isNull(schema.jobs.endedAt)).orderBy(schema.jobs.createdAt).all(),
      (row) => row.agentId,
    );
    const commands = Map.groupBy(
      db.select().from(schema.commands).orderBy(schema.commands.seq).all(),
      (row) => row.agentId,
    );
    return db
      .select()
      .from(schema.ledgers)
      .all()
      .map((row) => ({
        ...row,
        incarnation,
        schedules: row.schedules as ControlLedger['schedules'],
        jobs: new Map((jobs.get(row.agentId) ?? []).map((job) => [job.jobId, job.job as ControlJob])),
        outbox: (commands.get(row.agentId) ?? []).map((command) => command.command as AgentCommand),
      }));
  },
});
