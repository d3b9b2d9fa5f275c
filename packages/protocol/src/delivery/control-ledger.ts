import type { WireError } from '../errors.ts';
import type { JobEvent } from '../jobs/event.ts';
import type { JobClass, JobSpec } from '../jobs/spec.ts';
import type { JobState } from '../jobs/state.ts';
import type { AgentCommand } from '../session/command.ts';

/** One job as the control plane knows it (the newest attempt). */
export interface ControlJob {
  readonly jobId: string;
  readonly class: JobClass;
  readonly spec: JobSpec;
  readonly startBy: number;
  readonly deadlineMs: number;
  readonly state: JobState;
  readonly attempt: number;
  readonly lastEventNumber: number;
  readonly lastEventId: string | null;
  readonly cancelRequested: boolean;
  readonly grantedNonce: string | null;
  readonly dispatched: boolean;
  readonly diverged: boolean;
  /** After a restore of the catalog: only the agent's own verdict may change it. */
  readonly frozen: boolean;
  readonly leaseUntil: number | null;
  readonly error: WireError | null;
  readonly result: JobEvent['result'];
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  /**
   * No grant was given in time, and none will be: the attempt cannot begin any more, whatever its agent does. It is over for
   * people; between the two sides it stays open until the agent's word.
   */
  readonly closedAt?: number;
}
/** All that the control plane must not forget of one agent. Pure functions as in agent-ledger.ts; one transaction per step. */
export interface ControlLedger {
  readonly agentId: string;
  readonly incarnation: string;
  readonly mergedIncarnation: string | null;
  readonly epoch: number;
  readonly commandSeq: number;
  readonly acked: number;
  readonly jobs: ReadonlyMap<string, ControlJob>;
  /** Commands not yet acknowledged, in order without gaps. */
  readonly outbox: readonly AgentCommand[];
}
export const TERMINAL_STATES: ReadonlySet<JobState> = new Set<JobState>([
  'succeeded',
  'failed',
  'canceled',
  'expired',
  'rejected',
]);
