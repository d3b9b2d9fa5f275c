/** A difference between clocks that decides nothing. The same limit as for deletions. */
const MAX_SKEW_MS = 5 * 60_000;

/** How long reports may take on top of the window of an occurrence. */
export const REPORT_GRACE_MS = 15 * 60_000;

/** Since when the control plane has been able to receive reports, without a break. */
export interface Uptime {
  readonly upSinceMs: number;
  readonly lastTick: { readonly wallMs: number; readonly monotonicMs: number };
}

const TICK_BREAK_MS = 2 * 60_000;

/**
 * Call it once a tick of the planner. A break between two ticks (a stopped process, a frozen machine) and a jump of the wall clock count as
 * an outage: the uptime begins anew, because reports of that time may still be on their way.
 */
export function trackUptime(before: Uptime | null, now: Uptime['lastTick']): Uptime {
  if (before === null) return { upSinceMs: now.wallMs, lastTick: now };
  const wall = now.wallMs - before.lastTick.wallMs;
  const monotonic = now.monotonicMs - before.lastTick.monotonicMs;
  const isContinuous = monotonic <= TICK_BREAK_MS && Math.abs(wall - monotonic) <= TICK_BREAK_MS;
  return { upSinceMs: isContinuous ? before.upSinceMs : now.wallMs, lastTick: now };
}

/** What the control plane knows about the agent of an occurrence. */
export type AgentContact =
  | {
      readonly state: 'online';
      readonly connectedSinceMs: number;
      /** True when all events that the agent had collected before it connected have arrived. */
      readonly isCaughtUp: boolean;
      /** By how much its clock is ahead of this one; null when not measured. */
      readonly clockSkewMs: number | null;
    }
  | { readonly state: 'offline' };

export interface MissedInput {
  readonly dueMs: number;
  readonly windowMs: number;
  readonly nowMs: number;
  readonly upSinceMs: number;
  readonly agent: AgentContact;
}

/**
 * True when an occurrence that is still `expected` has to be counted as missed: it was due, and its window and grace have passed without a
 * report. After an outage of the control plane the agent first gets the time to report: until it has caught up, or until the grace after
 * its connection (or, while it stays away, after the outage) has passed. When clocks disagree, both must say that it is late.
 */
export function isMissed({ dueMs, windowMs, nowMs, upSinceMs, agent }: MissedInput): boolean {
  const lateAt = dueMs + windowMs + REPORT_GRACE_MS;
  if (nowMs < lateAt) return false;
  if (agent.state === 'offline') return nowMs >= upSinceMs + REPORT_GRACE_MS;
  const skew = agent.clockSkewMs ?? 0;
  if (Math.abs(skew) > MAX_SKEW_MS && nowMs + skew < lateAt) return false;
  return agent.isCaughtUp || nowMs >= agent.connectedSinceMs + REPORT_GRACE_MS;
}
