import { occurrenceIdOf } from './schedule.ts';
import { spreadOffsetMs } from './spread.ts';
import type { Timetable } from './timetable.ts';

/** Instants of one schedule that one decision reports. Older ones are left out: the control plane counts them as missed. */
const MAX_DUE = 100;

/** An instant that was fired or skipped. */
export interface HandledInstant {
  readonly dueMs: number;
  readonly repeat: number;
}

/** One schedule of the set that the agent holds, with what its journal knows about it. */
export interface AgentSchedule {
  readonly timetable: Timetable;
  /** When the agent received the schedule, or the last change of its times. Instants before it are not caught up. */
  readonly activeSinceMs: number;
  /** The instants of the last 30 days and the newest one in any case, in the order in which they were handled. */
  readonly handled: readonly HandledInstant[];
  /** True while a run of this schedule is queued, running or waiting for a grant. */
  readonly isBusy: boolean;
}

/**
 * `overlap`: the run before has not ended · `superseded`: a newer run replaces it · `agent_down`: its window passed while the agent did
 * not run · `late`: its window passed for another reason.
 */
export type SkipReason = 'overlap' | 'superseded' | 'agent_down' | 'late';

interface DueInstant extends HandledInstant {
  readonly scheduleId: string;
  /** The id of the occurrence and of its job. */
  readonly occurrenceId: string;
}
export type FireDecision =
  | (DueInstant & {
      readonly action: 'fire';
      /** True when its window has passed: it runs because of `catchUp`. */
      readonly isCatchUp: boolean;
      /** The job starts between these two. After an outage of a site, its agents do not catch up all at once. */
      readonly notBeforeMs: number;
      readonly startByMs: number;
    })
  | (DueInstant & { readonly action: 'skip'; readonly reason: SkipReason });

export interface FireInput {
  readonly schedules: readonly AgentSchedule[];
  /** The wall clock. */
  readonly nowMs: number;
  /** When the agent last decided, also before a restart. Store it with each decision. */
  readonly lastAliveMs: number;
}
export interface FirePlan {
  /** Journal each as handled, a fired one together with its job, before the job starts. In the order of their instants. */
  readonly decisions: readonly FireDecision[];
  /** When the next run is due; null without any schedule. Decide again then, and at least once a minute: clocks jump. */
  readonly nextDueMs: number | null;
}

interface History {
  readonly current: readonly HandledInstant[];
  readonly wasSetBack: boolean;
}

/**
 * The handled instants that count. When the clock was far ahead and was set back, it reaches instants again that were handled long
 * before. Those must run again, or nothing would run until the clock gets past them. One handled instant in the future may simply
 * have been fired just before a small correction: it stays handled, and the next run is at most one interval away.
 */
function historyAt(handled: readonly HandledInstant[], nowMs: number): History {
  // Each time the clock went back, the order of handling shows an earlier instant after a later one.
  const lastDescent = handled.findLastIndex(({ dueMs }, index) => dueMs <= (handled[index - 1]?.dueMs ?? -Infinity));
  const current = handled.slice(Math.max(0, lastDescent));
  const ahead = current.filter(({ dueMs }) => dueMs > nowMs);
  return ahead.length >= 2 ? { current: [], wasSetBack: true } : { current, wasSetBack: false };
}

/** The instant after which this schedule has not been handled yet. */
function cursorOf({ activeSinceMs }: AgentSchedule, history: History, { nowMs, lastAliveMs }: FireInput): number {
  const last = history.current.at(-1);
  // What a schedule that was changed since would have been due before the change does not count.
  if (last !== undefined) return activeSinceMs <= nowMs ? Math.max(last.dueMs, activeSinceMs) : last.dueMs;
  // The clock was set back past all that is known of this schedule: go on from when that was noticed.
  return history.wasSetBack || activeSinceMs > nowMs ? Math.min(lastAliveMs, nowMs) : activeSinceMs;
}

function decideSchedule(schedule: AgentSchedule, input: FireInput): FireDecision[] {
  const { timetable, handled, isBusy } = schedule;
  const { scheduleId, windowMs, spreadMs, spreadKey, catchUp } = timetable.schedule;
  const { nowMs, lastAliveMs } = input;
  const cursor = cursorOf(schedule, historyAt(handled, nowMs), input);
  const repeatOf = (dueMs: number): number =>
    Math.max(-1, ...handled.filter((each) => each.dueMs === dueMs).map(({ repeat }) => repeat)) + 1;
  const instants = timetable.dueBetween(cursor, nowMs, MAX_DUE).map((dueMs) => {
    const repeat = repeatOf(dueMs);
    return { scheduleId, dueMs, repeat, occurrenceId: occurrenceIdOf(scheduleId, dueMs, repeat) };
  });
  const newest = instants.at(-1);
  if (newest === undefined) return [];
  const isCatchUp = nowMs > newest.dueMs + windowMs;
  const runs = !isBusy && (!isCatchUp || catchUp === 'last');
  const skip = (instant: DueInstant): FireDecision => {
    const isLate = nowMs > instant.dueMs + windowMs;
    const late = instant.dueMs > lastAliveMs ? 'agent_down' : 'late';
    const reason = runs ? 'superseded' : isLate ? late : 'overlap';
    return { ...instant, action: 'skip', reason };
  };
  if (!runs) return instants.map(skip);
  const delayMs = isCatchUp ? spreadOffsetMs({ spreadMs: Math.min(spreadMs, windowMs), spreadKey }) : 0;
  const startByMs = (isCatchUp ? nowMs : newest.dueMs) + windowMs;
  return [
    ...instants.slice(0, -1).map(skip),
    { ...newest, action: 'fire', isCatchUp, notBeforeMs: nowMs + delayMs, startByMs },
  ];
}

/**
 * Which runs the agent starts now, by its own clock, connected or not. Of several instants that passed since the last decision, only
 * the newest runs; every other one is reported as skipped. Decides nothing twice: handled instants are journaled.
 */
export function decideFires(input: FireInput): FirePlan {
  const decisions = input.schedules.flatMap((schedule) => decideSchedule(schedule, input));
  const upcoming = input.schedules.flatMap(({ timetable }) => timetable.nextAfter(input.nowMs) ?? []);
  return {
    decisions: decisions.toSorted((a, b) => a.dueMs - b.dueMs),
    nextDueMs: upcoming.length === 0 ? null : Math.min(...upcoming),
  };
}
