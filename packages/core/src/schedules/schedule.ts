import { deriveUuid } from './derived-id.ts';

/** What happens to runs that were due while the agent was down: nothing, or the newest of them runs once the agent is back. */
export type CatchUp = 'none' | 'last';

/** When one kind of work of one target is due. All instants are computed from this, on either side of the connection. */
export interface Schedule {
  /** Stays the same when the content of the schedule changes, so an instant that is due is one occurrence before and after. */
  readonly scheduleId: string;
  /** Five fields; see `checkCron`. */
  readonly cron: string;
  /** An IANA name. */
  readonly timezone: string;
  /** Runs are delayed by a fixed part of this span, so that the schedules of a fleet do not all start at once. */
  readonly spreadMs: number;
  /** What the fixed part is derived from: the target. All schedules with the same key and span are delayed equally. */
  readonly spreadKey: string;
  /** A run starts at most this long after it was due. */
  readonly windowMs: number;
  /** A run that takes longer than this is ended. */
  readonly maxRunMs: number;
  readonly catchUp: CatchUp;
}

/** The name of a target in text: its environment, host and name. */
export interface ScheduledTarget {
  readonly environment: string;
  readonly host: string;
  readonly target: string;
}

const SCHEDULES = '6f0b41a4-3f6e-5c55-9d0f-0a51b1c0de01';

/** The id of the schedule of a target with this name. Names are unique within a target. */
export const scheduleIdOf = ({ environment, host, target }: ScheduledTarget, name: string): string =>
  deriveUuid(SCHEDULES, `${environment}/${host}/${target}/${name}`);

/**
 * The id of an occurrence, which is the id of its job: an occurrence runs once, whichever side starts it. `repeat` is 0, except for an
 * instant that a clock which was set back reaches once more (see `decideFires`).
 */
export const occurrenceIdOf = (scheduleId: string, dueMs: number, repeat = 0): string =>
  deriveUuid(scheduleId, `${new Date(dueMs).toISOString()}${repeat === 0 ? '' : `+${repeat}`}`);
