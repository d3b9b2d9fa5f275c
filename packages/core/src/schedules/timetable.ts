import type { Cron } from 'croner';
import { Bug } from '../failure.ts';
import { checkCron, parseCron } from './cron.ts';
import type { Schedule } from './schedule.ts';
import { spreadOffsetMs } from './spread.ts';

/**
 * The due instants of one schedule, in ms since the epoch. An instant is what the expression gives in its zone, delayed by the
 * fixed part of the spread. Keeps the parsed expression, so keep the timetable as long as the schedule.
 */
export class Timetable {
  readonly schedule: Schedule;
  readonly #cron: Cron;
  readonly #offsetMs: number;
  /** The answer to the last question for a next instant, which holds for every instant from `fromMs` until the answer. */
  #known = { fromMs: 0, nextMs: 0 };

  /** Throws a Bug when the expression or its zone is invalid: `checkCron` comes first, where the schedule is read. */
  constructor(schedule: Schedule) {
    const problem = checkCron(schedule.cron, schedule.timezone, 0);
    if (problem !== null) throw new Bug(`schedule ${schedule.scheduleId}: ${problem.code}`);
    this.schedule = schedule;
    this.#cron = parseCron(schedule.cron, schedule.timezone);
    this.#offsetMs = spreadOffsetMs(schedule);
  }

  /** The first instant after `fromMs`; null when there is none. Cheap while time only passes. */
  nextAfter(fromMs: number): number | null {
    if (fromMs < this.#known.fromMs || fromMs >= this.#known.nextMs) {
      const next = this.#cron.nextRun(new Date(fromMs - this.#offsetMs));
      this.#known = { fromMs, nextMs: next === null ? Number.POSITIVE_INFINITY : next.getTime() + this.#offsetMs };
    }
    return Number.isFinite(this.#known.nextMs) ? this.#known.nextMs : null;
  }

  /** The next `count` instants after `fromMs`, which itself does not count. */
  nextInstants(fromMs: number, count: number): number[] {
    const found: number[] = [];
    for (let next = this.nextAfter(fromMs); next !== null && found.length < count; next = this.nextAfter(next))
      found.push(next);
    return found;
  }

  /** The instants after `afterMs` up to `untilMs`, which counts; only the newest `limit` of them, oldest first. */
  dueBetween(afterMs: number, untilMs: number, limit = Number.POSITIVE_INFINITY): number[] {
    const found: number[] = [];
    const first = this.nextAfter(afterMs);
    if (first === null || first > untilMs) return found;
    // Walks back from the end, so that a span of years with a limit costs no more than the limit.
    let before = untilMs - this.#offsetMs + 1;
    while (found.length < limit) {
      const [previous] = this.#cron.previousRuns(1, new Date(before));
      if (previous === undefined || previous.getTime() + this.#offsetMs < first) break;
      before = previous.getTime();
      found.push(before + this.#offsetMs);
    }
    return found.reverse();
  }
}
