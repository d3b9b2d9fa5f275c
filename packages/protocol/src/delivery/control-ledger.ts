import type { WireError } from '../errors.ts';
import type { JobDescription } from '../jobs/description.ts';
import type { JobEvent } from '../jobs/event.ts';
import type { JobClass } from '../jobs/job-class.ts';
import type { JobState } from '../jobs/state.ts';
import type { ScheduleSet } from '../schedules/schedule-set.ts';
import type { AgentCommand } from '../session/command.ts';

/** One job as the control plane knows it (the newest attempt). */
export interface ControlJob extends JobDescription {
  readonly class: JobClass;
  readonly state: JobState;
  readonly attempt: number;
  readonly lastEventNumber: number;
  readonly lastEventId: string | null;
  readonly cancelRequested: boolean;
  readonly grantedNonce: string | null;
  readonly dispatched: boolean;
  /** The agent has reported another history of it; its next hello brings both together. */
  readonly diverged: boolean;
  /** After a restore of the catalog: only the agent's own verdict may change it. */
  readonly frozen: boolean;
  readonly leaseUntil: number | null;
  readonly error: WireError | null;
  readonly result: JobEvent['result'];
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  /**
   * No grant was given in time, and none will be: the attempt cannot start any more, whatever its agent does. For people it has
   * ended; between the two sides it stays open until the agent reports its end.
   */
  readonly closedAt?: number;
}
/** Everything the control plane must not forget about one agent. Pure reducers as in agent-ledger.ts; one transaction per step. */
export interface ControlLedger {
  readonly agentId: string;
  readonly incarnation: string;
  readonly mergedIncarnation: string | null;
  /**
   * The catalog may not know what happened on the host before this instant, because it was restored or lost. Null: it was
   * there from the start.
   */
  readonly completeSince: number | null;
  readonly epoch: number;
  readonly commandSeq: number;
  readonly acked: number;
  readonly jobs: ReadonlyMap<string, ControlJob>;
  /** The schedules that the agent is to hold; null: this catalog has none for it, and the agent keeps what it holds. */
  readonly schedules: ScheduleSet | null;
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

/** What the control plane knows of an agent that was just enrolled. */
export function emptyControlLedger(agentId: string, incarnation: string): ControlLedger {
  return {
    agentId,
    incarnation,
    mergedIncarnation: incarnation,
    completeSince: null,
    epoch: 0,
    commandSeq: 0,
    acked: 0,
    jobs: new Map(),
    schedules: null,
    outbox: [],
  };
}
