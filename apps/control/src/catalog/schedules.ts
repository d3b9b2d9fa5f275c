import type { PlannedOccurrence } from '@lastgood/core/schedules';
import type { ScheduleEntry } from '@lastgood/protocol';
import { and, eq, gt, inArray, isNull, lt } from 'drizzle-orm';
import type { Appliers, Db } from './db.ts';
import * as schema from './schema.ts';

export interface ScheduleRecord {
  readonly scheduleId: string;
  readonly agentId: string;
  readonly target: string;
  readonly name: string;
  readonly entry: ScheduleEntry;
  /** Up to when its occurrences exist. */
  readonly plannedUntil: number;
}
export type ScheduleChange =
  /** The schedules of an agent are these from now on. Occurrences that a changed schedule no longer has are withdrawn. */
  | {
      readonly type: 'schedules.replace';
      readonly agentId: string;
      readonly entries: readonly ScheduleEntry[];
      readonly now: number;
    }
  | {
      readonly type: 'schedule.plan';
      readonly schedule: ScheduleRecord;
      readonly add: readonly PlannedOccurrence[];
      readonly plannedUntil: number;
    };
export interface ScheduleQueries {
  list(agentId: string): Promise<ScheduleRecord[]>;
  /** Those whose occurrences end before an instant. */
  unplanned(until: number, limit: number): Promise<ScheduleRecord[]>;
}

const { schedules, occurrences } = schema;

const recordOf = (row: typeof schedules.$inferSelect): ScheduleRecord => ({
  ...row,
  entry: row.entry as ScheduleEntry,
});

const hasSameTimes = (one: ScheduleEntry, other: ScheduleEntry): boolean =>
  (['cron', 'timezone', 'spreadMs', 'spreadKey', 'windowMs'] as const).every((key) => one[key] === other[key]) &&
  one.spec.command === other.spec.command;

/** What was due stays and counts; what is due later and was not reported is planned again, or not. */
function withdraw(db: Db, scheduleId: string, now: number): void {
  db.delete(occurrences)
    .where(and(eq(occurrences.scheduleId, scheduleId), gt(occurrences.dueAt, now), eq(occurrences.state, 'expected')))
    .run();
}

function replaceSchedules(db: Db, change: Extract<ScheduleChange, { type: 'schedules.replace' }>): void {
  const { agentId, entries, now } = change;
  const rows = db.select().from(schedules).where(eq(schedules.agentId, agentId)).all();
  const known = new Map(rows.map((row) => [row.scheduleId, row]));
  const kept = new Set(entries.map(({ scheduleId }) => scheduleId));
  for (const row of rows) {
    if (kept.has(row.scheduleId) || row.removedAt !== null) continue;
    db.update(schedules).set({ removedAt: now }).where(eq(schedules.scheduleId, row.scheduleId)).run();
    withdraw(db, row.scheduleId, now);
  }
  for (const entry of entries) {
    const { scheduleId, name, spec } = entry;
    const before = known.get(scheduleId);
    const stays =
      before !== undefined && before.removedAt === null && hasSameTimes(before.entry as ScheduleEntry, entry);
    if (!stays) withdraw(db, scheduleId, now);
    const plannedUntil = stays ? before.plannedUntil : now;
    const row = { scheduleId, agentId, target: spec.target, name, entry, plannedUntil, removedAt: null };
    db.insert(schedules).values(row).onConflictDoUpdate({ target: schedules.scheduleId, set: row }).run();
  }
}

const ROWS = 500;

function planSchedule(db: Db, change: Extract<ScheduleChange, { type: 'schedule.plan' }>): void {
  const { schedule, add, plannedUntil } = change;
  const { scheduleId, agentId, target, name, entry } = schedule;
  const stillSame = and(
    eq(schedules.scheduleId, scheduleId),
    eq(schedules.plannedUntil, schedule.plannedUntil),
    isNull(schedules.removedAt),
  );
  const { changes } = db.update(schedules).set({ plannedUntil }).where(stillSame).run();
  // It was changed since it was read: it is planned anew.
  if (changes === 0) return;
  const about = { scheduleId, agentId, target, name, command: entry.spec.command, windowMs: entry.windowMs };
  for (let start = 0; start < add.length; start += ROWS) {
    const rows = add
      .slice(start, start + ROWS)
      .map(({ occurrenceId, dueMs }) => ({ ...about, occurrenceId, dueAt: dueMs, state: 'expected' as const }));
    // One that its agent has reported already stays as it is.
    db.insert(occurrences).values(rows).onConflictDoNothing().run();
  }
}

export const scheduleAppliers: Appliers<ScheduleChange> = {
  'schedules.replace': replaceSchedules,
  'schedule.plan': planSchedule,
};

export const scheduleQueries = (db: Db): ScheduleQueries => ({
  list: async (agentId) =>
    db
      .select()
      .from(schedules)
      .where(and(eq(schedules.agentId, agentId), isNull(schedules.removedAt)))
      .all()
      .map(recordOf),
  unplanned: async (until, limit) =>
    db
      .select()
      .from(schedules)
      .where(and(lt(schedules.plannedUntil, until), isNull(schedules.removedAt)))
      .limit(limit)
      .all()
      .map(recordOf),
});

/** The names of schedules, removed ones included. */
export const scheduleRows = (db: Db, scheduleIds: readonly string[]): ScheduleRecord[] =>
  db
    .select()
    .from(schedules)
    .where(inArray(schedules.scheduleId, [...scheduleIds]))
    .all()
    .map(recordOf);
