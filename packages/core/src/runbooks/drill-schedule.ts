import type { Runbook } from '../fleet-file/runbook-schema.ts';
import { SCHEDULE_DEFAULTS } from '../fleet-file/schedule-schema.ts';
import { deriveUuid } from '../schedules/derived-id.ts';
import { occurrenceIdOf } from '../schedules/schedule.ts';
import { Timetable } from '../schedules/timetable.ts';

const DRILLS = '2f8b1c1e-9c5a-5d0f-8f0e-6b2f4c7d9a10';

/** When a runbook is drilled; null when it has no schedule. */
export function drillTimetable(name: string, { drill }: Runbook): Timetable | null {
  if (drill === undefined) return null;
  return new Timetable({
    scheduleId: deriveUuid(DRILLS, name),
    cron: drill.cron,
    timezone: drill.timezone ?? SCHEDULE_DEFAULTS.timezone,
    spreadMs: drill.spread ?? SCHEDULE_DEFAULTS.spread,
    spreadKey: name,
    windowMs: drill.window ?? SCHEDULE_DEFAULTS.window,
    maxRunMs: drill.maxRun ?? SCHEDULE_DEFAULTS.maxRun,
    catchUp: drill.catchUp ?? SCHEDULE_DEFAULTS.catchUp,
  });
}

/** A drill that is to run now, once: its id is derived from schedule and instant. */
export interface DueDrill {
  readonly runId: string;
  readonly dueMs: number;
}

/**
 * The newest drill that was due since the fleet file is in force, while its window is open, and after that when it is caught up. Null: none.
 * Older ones are not made up for.
 */
export function dueDrill(timetable: Timetable, activeSinceMs: number, nowMs: number): DueDrill | null {
  const { scheduleId, windowMs, catchUp } = timetable.schedule;
  const [dueMs] = timetable.dueBetween(activeSinceMs, nowMs, 1);
  if (dueMs === undefined || (catchUp === 'none' && nowMs > dueMs + windowMs)) return null;
  return { runId: occurrenceIdOf(scheduleId, dueMs), dueMs };
}
