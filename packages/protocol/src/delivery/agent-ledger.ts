import type { WireError } from '../errors.ts';
import type { EventType, JobEvent } from '../jobs/event.ts';
import type { JobClass, JobSpec } from '../jobs/spec.ts';

/** One attempt of a job in the agent's journal. `accepted` waits for its turn; `running` was journaled before the first effect. */
export interface AgentJob {
  readonly jobId: string;
  readonly attempt: number;
  readonly class: JobClass;
  readonly spec: JobSpec;
  readonly startBy: number;
  readonly deadlineMs: number;
  readonly state: 'accepted' | 'running' | 'finished';
  readonly eventNumber: number;
  readonly lastEventId: string | null;
  readonly lastType: EventType | null;
  readonly error: WireError | null;
  readonly result: JobEvent['result'];
  readonly finishedAt: number | null;
}
/**
 * All that an agent must not forget, as one value. Every function below is pure: it takes a ledger and returns the next one;
 * the journal stores the difference in ONE transaction before anything is sent or started. Job objects are replaced, never
 * changed, so a difference is found by identity.
 */
export interface AgentLedger {
  readonly incarnation: string | null;
  readonly lastSeq: number;
  /** Keyed by jobKey(). */
  readonly jobs: ReadonlyMap<string, AgentJob>;
  readonly outbox: readonly JobEvent[];
}
/** What the caller owns: wall clock and randomness. */
export interface EventFactory {
  readonly now: number;
  readonly eventId: () => string;
}
export const jobKey = (jobId: string, attempt: number): string => `${jobId}#${attempt}`;
export const emptyAgentLedger: AgentLedger = { incarnation: null, lastSeq: 0, jobs: new Map(), outbox: [] };
export interface JobOutcome {
  readonly type: 'succeeded' | 'failed' | 'canceled' | 'expired' | 'rejected';
  readonly error: WireError | null;
  readonly result: JobEvent['result'];
}
/** `stop`: a running attempt whose process the caller must cancel; it finishes through finishJob with `canceled`. */
export interface AcceptDecision {
  readonly ledger: AgentLedger;
  readonly stop: { jobId: string; attempt: number } | null;
  readonly gap: boolean;
}
