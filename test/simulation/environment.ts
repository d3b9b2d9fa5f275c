import type { JobDescription, JobSpec, RestoreRequest, ScheduleEntry, ScheduleSet } from '@lastgood/protocol';
import { aRestoreRequest } from '@lastgood/testkit';
import type { Link } from './network.ts';
import type { Oracle } from './oracle.ts';
import type { Protocol } from './protocol-under-test.ts';
import type { Random } from './random.ts';

/** Ends a process between two steps: what it had not committed is gone. */
export class Crash extends Error {
  override readonly name = 'Crash';
  readonly who: number | 'control';

  constructor(who: number | 'control') {
    super(`crash of ${who}`);
    this.who = who;
  }
}

/** A schedule of one host; its occurrences are due at multiples of its interval. */
export interface Schedule {
  readonly scheduleId: string;
  readonly agent: number;
  readonly spec: JobSpec;
  readonly everyMs: number;
}
/** Each host has a schedule of backups and one of rotations. */
export const schedulesOf = (agents: number): Schedule[] =>
  Array.from({ length: agents }, (_, agent) => agent).flatMap((agent): Schedule[] => {
    const id = (n: number): string => `${(10 * agent + n).toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`;
    const backup: JobSpec = {
      command: 'backup',
      target: 'shop',
      method: null,
      contents: null,
      options: { digests: true },
    };
    const rotate: JobSpec = { command: 'rotate', target: 'crm', retention: { minimum: 1 }, holds: [], dryRun: false };
    return [
      { scheduleId: id(1), agent, spec: backup, everyMs: 40_000 },
      { scheduleId: id(2), agent, spec: rotate, everyMs: 70_000 },
    ];
  });
/** How long after it is due an occurrence may start. */
export const WINDOW_MS = 240_000;

/** The id of the occurrence of a schedule that is due at an instant. */
export const occurrenceIdOf = ({ scheduleId, everyMs }: Schedule, due: number): string =>
  `${scheduleId.slice(0, 24)}${(due / everyMs).toString(16).padStart(12, '0')}`;

/** The job of an occurrence that is due, for either side that creates it: the newest, or so many before it. */
export function occurrenceAt(schedule: Schedule, now: number, before: number): JobDescription {
  const { scheduleId, spec, everyMs } = schedule;
  const due = (Math.floor(now / everyMs) - before) * everyMs;
  const jobId = occurrenceIdOf(schedule, due);
  const origin = { kind: 'schedule', scheduleId, due } as const;
  return { jobId, spec, origin, createdAt: now, startBy: due + WINDOW_MS, deadlineMs: 3_600_000 };
}

/** The sets that a host may be sent: all of its schedules, the first of them only, and all again in another order. */
export const SCHEDULE_SETS = 3;
export function scheduleSetOf(schedules: readonly Schedule[], agent: number, variant: number): ScheduleSet {
  const own = schedules.filter((schedule) => schedule.agent === agent);
  const chosen = variant === 1 ? own.slice(0, 1) : variant === 2 ? own.toReversed() : own;
  const entries = chosen.map(
    ({ scheduleId, spec }): ScheduleEntry => ({
      scheduleId,
      name: spec.command,
      cron: '* * * * *',
      timezone: 'UTC',
      spreadMs: 0,
      spreadKey: '',
      windowMs: WINDOW_MS,
      maxRunMs: 3_600_000,
      catchUp: 'last',
      spec,
    }),
  );
  return { revision: `set ${variant} of agent ${agent}`, entries };
}

/** What the world offers to the processes in it. */
export interface Environment {
  readonly protocol: Protocol;
  readonly random: Random;
  readonly oracle: Oracle;
  readonly schedules: readonly Schedule[];
  /** True while nothing fails any more and all must come to rest. */
  readonly healed: boolean;
  /** True as long as no host and no catalog was ever set back. */
  readonly unharmed: boolean;
  /** Real time; the clocks of the hosts differ from it. */
  now(): number;
  newId(prefix: string): string;
  connect(agent: number): Link;
  note(line: () => string): void;
  /** A place between two steps where the process may die. */
  mayCrash(who: number | 'control'): void;
}
export const LEASE_MS = 90_000;
export const GRANT_MS = 30_000;

/** A restore of a backup, as one more destructive job. */
export const aRestore = (backupId: string): RestoreRequest =>
  aRestoreRequest(backupId, { way: 'swap', database: 'shop' });
