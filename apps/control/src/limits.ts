import { LIMITS } from '@lastgood/protocol';
import { AGENT_RATES, type AgentRateLimits } from './sessions/agent-rates.ts';

/** The limits of clients and agents of the control plane. Tests use shorter times; nothing else differs. */
export interface ControlLimits {
  /** A connection that has not said hello by then is ended, and one that has not ended the head of its request. */
  readonly helloMs: number;
  /** A reader that takes nothing for so long, while much waits for it, is ended (K5). */
  readonly drainMs: number;
  /** Open connections of one agent; more are refused with 429. */
  readonly connectionsPerAgent: number;
  /** Open connections of nobody in particular; when there are more, the oldest of them are ended. */
  readonly unauthenticated: number;
  /** Guesses of enrollment tokens; a fleet that is installed at once stays below it. */
  readonly enrollmentsPerMinute: number;
  /** Failed attempts to sign in from one address; more are refused for the rest of the minute. */
  readonly failedSignInsPerMinute: number;
  /** How fast one agent may go. One that goes faster is read more slowly. */
  readonly agentRates: AgentRateLimits;
  /** How often overdue leases, silent sessions and old jobs are looked for. */
  readonly maintenanceMs: number;
  /** How often occurrences, objectives and alerts are looked at. */
  readonly plannerMs: number;
  /** How often the waits of runbooks are looked at. */
  readonly runbooksMs: number;
}

export const CONTROL_LIMITS: ControlLimits = {
  helloMs: LIMITS.helloMs,
  drainMs: 10_000,
  connectionsPerAgent: 8,
  agentRates: AGENT_RATES,
  unauthenticated: 4_096,
  enrollmentsPerMinute: 3_000,
  failedSignInsPerMinute: 20,
  maintenanceMs: 5_000,
  plannerMs: 10_000,
  runbooksMs: 1_000,
};
