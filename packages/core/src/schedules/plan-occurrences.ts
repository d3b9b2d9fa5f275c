import { occurrenceIdOf } from './schedule.ts';
import type { Timetable } from './timetable.ts';

/** How far ahead occurrences are written. */
export const PLAN_AHEAD_MS = 48 * 3_600_000;

export interface PlannedOccurrence {
  readonly occurrenceId: string;
  readonly scheduleId: string;
  readonly dueMs: number;
}

export interface PlannedSchedule {
  readonly timetable: Timetable;
  /** Until when occurrences exist: for a new schedule the instant from which it holds. */
  readonly plannedUntilMs: number;
}

export interface OccurrencePlan {
  readonly add: readonly PlannedOccurrence[];
  /** The value to store with each of the schedules. It never goes back, also when the clock does. */
  readonly plannedUntilMs: number;
}

/**
 * The occurrences of a schedule that do not exist yet, up to `PLAN_AHEAD_MS` from now. Goes on where the last plan ended, so after days
 * without a planner the instants of those days are added as well, and count. Run it again at any time: ids are derived.
 */
export function planOccurrences({ timetable, plannedUntilMs }: PlannedSchedule, nowMs: number): OccurrencePlan {
  const { scheduleId } = timetable.schedule;
  const until = Math.max(plannedUntilMs, nowMs + PLAN_AHEAD_MS);
  const add = timetable
    .dueBetween(plannedUntilMs, until)
    .map((dueMs) => ({ occurrenceId: occurrenceIdOf(scheduleId, dueMs), scheduleId, dueMs }));
  return { add, plannedUntilMs: until };
}

export interface ExistingOccurrence extends PlannedOccurrence {
  readonly state: string;
}

/**
 * The occurrences to remove when a schedule was changed or removed, before it is planned anew from `nowMs`: those not due yet that no
 * agent has reported. What was due stays and counts. An agent that still runs the old schedule reports its runs all the same; the
 * catalog takes them as occurrences of their own.
 */
export const withdrawnOccurrences = (
  existing: readonly ExistingOccurrence[],
  nowMs: number,
): readonly ExistingOccurrence[] => existing.filter(({ dueMs, state }) => dueMs > nowMs && state === 'expected');
