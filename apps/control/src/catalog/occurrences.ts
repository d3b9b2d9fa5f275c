import { nextOccurrenceState, type OccurrenceEvent, type OccurrenceState } from '@lastgood/core/schedules';
import type { ControlJob } from '@lastgood/protocol';
import { and, count, desc, eq, gte, inArray, lt, lte, max, ne } from 'drizzle-orm';
import type { Appliers, Db } from './db.ts';
import { scheduleRows } from './schedules.ts';
import * as schema from './schema.ts';

export interface OccurrenceRecord {
  readonly occurrenceId: string;
  readonly scheduleId: string;
  readonly agentId: string;
  readonly target: string;
  /** The name of its schedule. */
  readonly name: string;
  readonly command: string;
  readonly dueAt: number;
  readonly windowMs: number;
  readonly state: OccurrenceState;
  /** The error code of one that failed or was skipped. */
  readonly code: string | null;
}
export type OccurrenceChange =
  /** No report came in time. One that was reported meanwhile stays as it is. */
  | { readonly type: 'occurrence.expire'; readonly occurrenceIds: readonly string[] }
  | { readonly type: 'occurrence.prune'; readonly before: number };

export interface OccurrenceFilter {
  readonly agentId?: string;
  readonly target?: string;
  readonly states?: readonly OccurrenceState[];
  readonly from?: number;
  readonly until?: number;
}
export interface OccurrenceQueries {
  /** The latest first. */
  list(filter: OccurrenceFilter, limit: number): Promise<OccurrenceRecord[]>;
  /** Those that were due before an instant and are still expected; the oldest first. */
  expected(dueBefore: number): Promise<OccurrenceRecord[]>;
  /** The latest of each schedule of an agent that was due before an instant and is no longer expected. */
  latest(agentId: string, dueBefore: number): Promise<OccurrenceRecord[]>;
  /** The latest start of the first run of a command on a target; null when no run is planned. */
  firstStart(agentId: string, target: string, command: string): Promise<number | null>;
  /** How many were due from one instant to another, by state. */
  counts(from: number, until: number): Promise<{ state: OccurrenceState; count: number }[]>;
}

const { occurrences } = schema;

/** What the state of a job means for its occurrence; undefined for nothing. */
function eventOf({ state, class: jobClass, error }: ControlJob): OccurrenceEvent | undefined {
  switch (state) {
    case 'queued':
    case 'dispatched':
      return undefined;
    case 'accepted':
      return jobClass === 'destructive' ? 'wait' : undefined;
    case 'running':
    case 'lost':
      return 'start';
    case 'succeeded':
      return 'succeed';
    case 'failed':
    case 'canceled':
    case 'expired':
      return 'fail';
    case 'rejected':
      return error?.code === 'OCCURRENCE_SKIPPED' ? 'skip' : 'fail';
  }
}

/** Records what the state of a job means for its occurrence, in the transaction that stores the job. */
export function saveOccurrence(db: Db, agentId: string, job: ControlJob): void {
  const event = eventOf(job);
  if (job.origin.kind !== 'schedule' || event === undefined) return;
  const { scheduleId, due } = job.origin;
  const [known] = db.select().from(occurrences).where(eq(occurrences.occurrenceId, job.jobId)).all();
  // The id of an occurrence belongs to the host of its schedule.
  if (known !== undefined && known.agentId !== agentId) return;
  const state = nextOccurrenceState(known?.state ?? 'expected', event);
  const code = state === 'failed' || state === 'skipped' ? (job.error?.code ?? null) : null;
  if (known !== undefined) {
    if (known.state !== state || known.code !== code)
      db.update(occurrences).set({ state, code }).where(eq(occurrences.occurrenceId, job.jobId)).run();
    return;
  }
  // Its schedule was changed or removed before the agent knew, or the catalog was lost.
  const [schedule] = scheduleRows(db, [scheduleId]);
  const { target, command } = job.spec;
  const about = { occurrenceId: job.jobId, scheduleId, agentId, target, command, dueAt: due, state, code };
  const own = schedule?.agentId === agentId ? schedule : undefined;
  db.insert(occurrences)
    .values({ ...about, name: own?.name ?? command, windowMs: own?.entry.windowMs ?? 0 })
    .run();
}

export const occurrenceAppliers: Appliers<OccurrenceChange> = {
  'occurrence.expire': (db, { occurrenceIds }) => {
    for (const occurrenceId of occurrenceIds)
      db.update(occurrences)
        .set({ state: 'missed' })
        .where(and(eq(occurrences.occurrenceId, occurrenceId), eq(occurrences.state, 'expected')))
        .run();
  },
  'occurrence.prune': (db, { before }) => {
    db.delete(occurrences).where(lt(occurrences.dueAt, before)).run();
  },
};

const inFilter = ({ agentId, target, states, from, until }: OccurrenceFilter) =>
  and(
    agentId === undefined ? undefined : eq(occurrences.agentId, agentId),
    target === undefined ? undefined : eq(occurrences.target, target),
    states === undefined ? undefined : inArray(occurrences.state, [...states]),
    from === undefined ? undefined : gte(occurrences.dueAt, from),
    until === undefined ? undefined : lte(occurrences.dueAt, until),
  );

export const occurrenceQueries = (db: Db): OccurrenceQueries => ({
  list: async (filter, limit) =>
    db
      .select()
      .from(occurrences)
      .where(inFilter(filter))
      .orderBy(desc(occurrences.dueAt), occurrences.name)
      .limit(limit)
      .all(),
  expected: async (dueBefore) =>
    db
      .select()
      .from(occurrences)
      .where(and(eq(occurrences.state, 'expected'), lte(occurrences.dueAt, dueBefore)))
      .orderBy(occurrences.dueAt)
      .all(),
  latest: async (agentId, dueBefore) => {
    // SQLite guarantees that the other columns come from the row that holds the maximum.
    const rows = db
      .select({ occurrence: occurrences, newest: max(occurrences.dueAt) })
      .from(occurrences)
      .where(
        and(eq(occurrences.agentId, agentId), lte(occurrences.dueAt, dueBefore), ne(occurrences.state, 'expected')),
      )
      .groupBy(occurrences.scheduleId)
      .all();
    return rows.map(({ occurrence }) => occurrence);
  },
  firstStart: async (agentId, target, command) =>
    db
      .select({ dueAt: occurrences.dueAt, windowMs: occurrences.windowMs })
      .from(occurrences)
      .where(and(eq(occurrences.agentId, agentId), eq(occurrences.target, target), eq(occurrences.command, command)))
      .orderBy(occurrences.dueAt)
      .limit(1)
      .all()
      .map(({ dueAt, windowMs }) => dueAt + windowMs)[0] ?? null,
  counts: async (from, until) =>
    db
      .select({ state: occurrences.state, count: count() })
      .from(occurrences)
      .where(and(gte(occurrences.dueAt, from), lte(occurrences.dueAt, until)))
      .groupBy(occurrences.state)
      .all(),
});
