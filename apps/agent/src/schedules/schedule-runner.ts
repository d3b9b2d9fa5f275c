import { type Clock, toWireError } from '@lastgood/core';
import { checkCron, decideFires, type FireDecision, Timetable } from '@lastgood/core/schedules';
import {
  type AgentLedger,
  classOf,
  type HeldSchedule,
  handleOccurrences,
  type JobSpec,
  type OccurrenceDecision,
  type WireError,
} from '@lastgood/protocol';
import { faultPoint } from '../fault-point.ts';
import { eventsNow } from '../journal/event-factory.ts';
import type { Journal } from '../journal/journal.ts';
import type { Log } from '../log.ts';

/** Clocks jump, so what is due is decided this often, also when nothing is due for hours. */
const DECIDE_EVERY_MS = 5_000;
/** So often it is journaled that the agent was alive. */
const ALIVE_EVERY_MS = 60_000;
/** How long a destructive occurrence waits for its grant while the control plane is unreachable. */
const GRANT_WAIT_MS = 30 * 86_400_000;

export interface ScheduleRunnerParts {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: Log;
  /** Why this host does not accept a job; null if it does. */
  readonly refuse: (spec: JobSpec) => WireError | null;
}

const isBusy = (ledger: AgentLedger, scheduleId: string): boolean =>
  [...ledger.jobs.values()].some(
    ({ origin, state }) => origin.kind === 'schedule' && origin.scheduleId === scheduleId && state !== 'finished',
  );

/** An occurrence that needs a grant is not late while the control plane is unreachable: it waits. */
function startByOf(spec: JobSpec, { dueMs, startByMs }: Extract<FireDecision, { action: 'fire' }>): number {
  return classOf(spec) === 'destructive' ? Math.max(startByMs, dueMs + GRANT_WAIT_MS) : startByMs;
}

/**
 * Creates the jobs of the occurrences that are due, from the schedules that the journal holds, connected or not. Each decision is
 * journaled together with its job, so no occurrence is fired twice, whenever the process ends.
 */
export class ScheduleRunner implements Disposable {
  readonly #parts: ScheduleRunnerParts;
  /** Null: the expression or the zone is not known on this host. */
  readonly #timetables = new WeakMap<HeldSchedule, Timetable | null>();
  /** When a catch-up may start, by the monotonic clock: agents of one site do not all start at once. */
  readonly #catchUpAt = new Map<string, number>();
  readonly #unsubscribe: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: ScheduleRunnerParts) {
    this.#parts = parts;
    this.#unsubscribe = parts.journal.subscribe((before, after) => {
      if (before.schedules !== after.schedules) this.#wait(0);
    });
    this.#wait(0);
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(), ms);
    this.#timer.unref();
  }

  #run(): void {
    let nextMs: number | null = null;
    try {
      nextMs = this.decide();
    } catch (error) {
      // A full disk, for example. Nothing was journaled, so the same is decided again.
      this.#parts.log.error({ error: toWireError(error) }, 'cannot journal what is due');
    }
    const untilNext = nextMs === null ? DECIDE_EVERY_MS : nextMs - this.#parts.clock.now();
    this.#wait(Math.max(0, Math.min(DECIDE_EVERY_MS, untilNext)));
  }

  #timetableOf(schedule: HeldSchedule): Timetable | null {
    const known = this.#timetables.get(schedule);
    if (known !== undefined) return known;
    const problem = checkCron(schedule.cron, schedule.timezone, this.#parts.clock.now());
    const { name, scheduleId, cron, timezone, spec } = schedule;
    if (problem !== null)
      this.#parts.log.error(
        { schedule: name, scheduleId, target: spec.target, cron, timezone, problem: problem.code },
        'this host cannot run a schedule',
      );
    const timetable = problem === null ? new Timetable(schedule) : null;
    this.#timetables.set(schedule, timetable);
    return timetable;
  }

  /** Journals what is due now. Returns when the next occurrence is due; null without any. */
  decide(): number | null {
    const { journal, clock, refuse, log } = this.#parts;
    const { ledger } = journal;
    const nowMs = clock.now();
    const held = ledger.schedules?.entries ?? [];
    if (held.length === 0) return null;
    const { decidedAt } = ledger;
    const schedules = held.flatMap((schedule) => {
      const timetable = this.#timetableOf(schedule);
      if (timetable === null) return [];
      const { scheduleId, activeSince } = schedule;
      const handled = ledger.handled.get(scheduleId) ?? [];
      return [{ timetable, activeSinceMs: activeSince, handled, isBusy: isBusy(ledger, scheduleId) }];
    });
    const { decisions, nextDueMs } = decideFires({ schedules, nowMs, lastAliveMs: decidedAt ?? nowMs });
    const specs = new Map(held.map(({ scheduleId, spec }) => [scheduleId, spec]));
    const ready = this.#withoutDelayed(decisions, nowMs).flatMap((decision): OccurrenceDecision[] => {
      const { occurrenceId: jobId, scheduleId } = decision;
      const spec = specs.get(scheduleId);
      if (spec === undefined) return [];
      return [
        decision.action === 'fire'
          ? { ...decision, jobId, startBy: startByOf(spec, decision) }
          : { ...decision, jobId },
      ];
    });
    if (ready.length > 0 || decidedAt === null || Math.abs(nowMs - decidedAt) >= ALIVE_EVERY_MS)
      journal.update((before) => handleOccurrences(before, ready, eventsNow(clock), refuse));
    if (ready.length > 0) faultPoint('scheduled');
    for (const decision of ready)
      log.info(
        { schedule: decision.scheduleId, job: decision.jobId, due: new Date(decision.dueMs).toISOString() },
        decision.action === 'fire' ? 'a scheduled run is due' : `a scheduled run is skipped: ${decision.reason}`,
      );
    return nextDueMs;
  }

  /** Leaves out the decisions of schedules whose catch-up does not start yet. They are decided again later. */
  #withoutDelayed(decisions: readonly FireDecision[], nowMs: number): readonly FireDecision[] {
    const monotonic = this.#parts.clock.monotonic();
    const delayed = new Set<string>();
    for (const decision of decisions) {
      const { scheduleId } = decision;
      if (decision.action === 'skip') continue;
      const at = this.#catchUpAt.get(scheduleId) ?? monotonic + decision.notBeforeMs - nowMs;
      if (decision.isCatchUp && at > monotonic) {
        this.#catchUpAt.set(scheduleId, at);
        delayed.add(scheduleId);
      } else this.#catchUpAt.delete(scheduleId);
    }
    return delayed.size === 0 ? decisions : decisions.filter(({ scheduleId }) => !delayed.has(scheduleId));
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#unsubscribe();
  }
}
