import type { RtoStatus, RunbookRun } from '@lastgood/protocol';
import type { Runbook } from '../fleet-file/runbook-schema.ts';
import { drillTimetable } from './drill-schedule.ts';

/** What is known of the drills of a runbook. */
export interface DrillHistory {
  /** The newest drill that has succeeded or failed. One that a person aborted does not count. */
  readonly lastEnded: RunbookRun | undefined;
  /** When the newest drill started, ended or not. */
  readonly newestStartedMs: number | null;
  /** Since when the fleet file is in force; null without one. */
  readonly activeSinceMs: number | null;
}

/** The result of the drills of a runbook. */
export interface DrillStatus {
  readonly runbook: string;
  readonly runId: string | null;
  readonly hasFailed: boolean;
  readonly durationMs: number | null;
  readonly rtoMs: number | null;
  readonly rto: RtoStatus;
  /** The instant for which no drill has started although its window is over; null when there is none. */
  readonly overdueSinceMs: number | null;
}

function overdueSince(name: string, runbook: Runbook, history: DrillHistory, nowMs: number): number | null {
  const { activeSinceMs, newestStartedMs } = history;
  const timetable = drillTimetable(name, runbook);
  if (timetable === null || activeSinceMs === null) return null;
  const [dueMs] = timetable.dueBetween(activeSinceMs, nowMs - timetable.schedule.windowMs, 1);
  if (dueMs === undefined) return null;
  return newestStartedMs !== null && newestStartedMs >= dueMs ? null : dueMs;
}

function rtoOf(rtoMs: number | null, last: RunbookRun | undefined, durationMs: number | null): RtoStatus {
  if (rtoMs === null) return 'none';
  if (last === undefined || durationMs === null) return 'never-drilled';
  if (last.state !== 'succeeded') return 'drill-failed';
  return durationMs <= rtoMs ? 'met' : 'missed';
}

/** Compares the drills of a runbook with its schedule and its RTO. */
export function judgeDrills(name: string, runbook: Runbook, history: DrillHistory, nowMs: number): DrillStatus {
  const { lastEnded } = history;
  const rtoMs = runbook.objectives?.rto ?? null;
  const durationMs =
    lastEnded === undefined || lastEnded.endedAt === null ? null : lastEnded.endedAt - lastEnded.startedAt;
  return {
    runbook: name,
    runId: lastEnded?.runId ?? null,
    hasFailed: lastEnded?.state === 'failed',
    durationMs,
    rtoMs,
    rto: rtoOf(rtoMs, lastEnded, durationMs),
    overdueSinceMs: overdueSince(name, runbook, history, nowMs),
  };
}
