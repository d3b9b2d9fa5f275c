import type { WireError } from '../errors.ts';
import type { JobDescription } from '../jobs/description.ts';
import type { EventType, JobEvent } from '../jobs/event.ts';
import type { JobClass } from '../jobs/job-class.ts';
import type { JobStep } from '../jobs/step.ts';
import type { ScheduleEntry } from '../schedules/schedule-set.ts';

/** One attempt of a job in the agent's journal. `accepted` waits for its turn; `running` was journaled before the first effect. */
export interface AgentJob extends JobDescription {
  readonly attempt: number;
  readonly class: JobClass;
  /** This agent has created it; the control plane learns of it from the report. */
  readonly local: boolean;
  readonly state: 'accepted' | 'running' | 'finished';
  /** A running attempt is to be stopped; it ends through finishJob. */
  readonly cancelRequested: boolean;
  readonly eventNumber: number;
  readonly lastEventId: string | null;
  readonly lastType: EventType | null;
  readonly error: WireError | null;
  readonly result: JobEvent['result'];
  readonly startedAt: number | null;
  /** What it has changed outside; taken back if the attempt does not succeed. */
  readonly steps: readonly JobStep[];
  readonly finishedAt: number | null;
}
/** A schedule of the set that the agent holds. */
export interface HeldSchedule extends ScheduleEntry {
  /** When the agent received it, or the last change of its times, by its own clock. Earlier instants are not caught up. */
  readonly activeSince: number;
}
/** An instant of a schedule that was fired or skipped. `repeat` counts how often a clock that was set back has reached it again. */
export interface HandledInstant {
  readonly dueMs: number;
  readonly repeat: number;
}
/**
 * Everything an agent must not forget, as one value. The reducers of this folder are pure: each takes a ledger and returns the
 * next one. The journal stores the difference in one transaction before anything is sent or started. Job objects are replaced,
 * never changed, so identity shows what differs.
 */
export interface AgentLedger {
  readonly incarnation: string | null;
  readonly lastSeq: number;
  /**
   * A hello was answered since this process started, so the journal is known not to be an old copy. Never stored: every process
   * starts with `false`.
   */
  readonly reconciled: boolean;
  /** Keyed by jobKey(). */
  readonly jobs: ReadonlyMap<string, AgentJob>;
  readonly outbox: readonly JobEvent[];
  /**
   * The ids of jobs that this agent has created or may create, with the time at which they were first journaled. They stay when
   * the job is forgotten, so that no job is created twice.
   */
  readonly mintedIds: ReadonlyMap<string, number>;
  /** The set that the control plane sent last; null before the first. */
  readonly schedules: { readonly revision: string; readonly entries: readonly HeldSchedule[] } | null;
  /** By schedule, in the order in which they were handled. */
  readonly handled: ReadonlyMap<string, readonly HandledInstant[]>;
  /** When the agent last decided which occurrences are due. */
  readonly decidedAt: number | null;
}
/** The caller's wall clock and randomness. */
export interface EventFactory {
  readonly now: number;
  readonly eventId: () => string;
}
export interface JobOutcome {
  readonly type: 'succeeded' | 'failed' | 'canceled' | 'expired' | 'rejected';
  readonly error: WireError | null;
  readonly result: JobEvent['result'];
}

export const emptyAgentLedger: AgentLedger = {
  incarnation: null,
  lastSeq: 0,
  reconciled: false,
  jobs: new Map(),
  outbox: [],
  mintedIds: new Map(),
  schedules: null,
  handled: new Map(),
  decidedAt: null,
};
export const jobKey = (jobId: string, attempt: number): string => `${jobId}#${attempt}`;
