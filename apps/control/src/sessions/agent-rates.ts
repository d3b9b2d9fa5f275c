import type { Clock } from '@lastgood/core';

/** So much per second, and so much at once after a time of rest. */
export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}
export interface AgentRateLimits {
  readonly calls: Rate;
  readonly bytes: Rate;
  /** Jobs that the agent describes as its own. */
  readonly jobs: Rate;
}
/** A fleet at work stays far below: an agent sends a heartbeat in 15 seconds, and an inventory of at most a frame in 5 minutes. */
export const AGENT_RATES: AgentRateLimits = {
  calls: { perSecond: 100, burst: 2_000 },
  bytes: { perSecond: 256 * 1024, burst: 8 * 1024 * 1024 },
  jobs: { perSecond: 20, burst: 5_000 },
};

/** A token bucket that may be overdrawn: who has taken too much waits until it is even again. */
class Bucket {
  readonly #rate: Rate;
  readonly #clock: Pick<Clock, 'monotonic'>;
  #left: number;
  #filledAt: number;

  constructor(rate: Rate, clock: Pick<Clock, 'monotonic'>) {
    this.#rate = rate;
    this.#clock = clock;
    this.#left = rate.burst;
    this.#filledAt = clock.monotonic();
  }

  /** Takes an amount. Returns for how many milliseconds the taker has to wait before it may take more. */
  take(amount: number): number {
    const now = this.#clock.monotonic();
    const { perSecond, burst } = this.#rate;
    this.#left = Math.min(burst, this.#left + ((now - this.#filledAt) / 1_000) * perSecond) - amount;
    this.#filledAt = now;
    return this.#left >= 0 ? 0 : (-this.#left / perSecond) * 1_000;
  }
}

/** How fast one agent may go, over all of its connections. */
export class AgentRate {
  readonly calls: Bucket;
  readonly bytes: Bucket;
  readonly jobs: Bucket;

  constructor(limits: AgentRateLimits, clock: Pick<Clock, 'monotonic'>) {
    this.calls = new Bucket(limits.calls, clock);
    this.bytes = new Bucket(limits.bytes, clock);
    this.jobs = new Bucket(limits.jobs, clock);
  }
}

/** The rates by agent. They outlive connections: a new connection does not make an agent faster. */
export class AgentRates {
  readonly #limits: AgentRateLimits;
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #rates = new Map<string, AgentRate>();

  constructor(limits: AgentRateLimits, clock: Pick<Clock, 'monotonic'>) {
    this.#limits = limits;
    this.#clock = clock;
  }

  of(agentId: string): AgentRate {
    const rate = this.#rates.get(agentId) ?? new AgentRate(this.#limits, this.#clock);
    this.#rates.set(agentId, rate);
    return rate;
  }
}
