import { randomUUID } from 'node:crypto';
import type { Clock } from '@lastgood/core';
import { type AgentJob, jobKey } from '@lastgood/protocol';

export interface GrantAnswer {
  readonly granted: boolean;
  readonly ttlMs: number;
  readonly reason: string;
}
/** Asks the control plane whether a destructive attempt may start. Rejects while there is no connection. */
export interface GrantSource {
  requestGrant(jobId: string, attempt: number, nonce: string): Promise<GrantAnswer>;
}
interface Grant {
  readonly nonce: string;
  /** `waits`: not now (the clocks disagree); asked again when the timer says so, and not before. */
  state: 'none' | 'asking' | 'waits' | 'denied' | 'valid';
  until: number;
  reason: string;
}

/** The grants of the attempts that wait to start. Each attempt asks with one nonce, however often it asks (R15). */
export class Grants {
  readonly #source: GrantSource;
  readonly #clock: Clock;
  readonly #answered: () => void;
  readonly #grants = new Map<string, Grant>();

  /** `answered` is called when an answer has arrived. */
  constructor(source: GrantSource, clock: Clock, answered: () => void) {
    this.#source = source;
    this.#clock = clock;
    this.#answered = answered;
  }

  #of(key: string): Grant {
    const grant = this.#grants.get(key) ?? { nonce: randomUUID(), state: 'none', until: 0, reason: '' };
    this.#grants.set(key, grant);
    return grant;
  }

  /** The state of an attempt's grant as nextStep takes it, and the reason of a denial. */
  stateOf(key: string): { grant: 'valid' | 'denied' | 'none'; reason: string } {
    const grant = this.#of(key);
    if (grant.state === 'valid' && this.#clock.monotonic() > grant.until) grant.state = 'none';
    const { state, reason } = grant;
    return { grant: state === 'asking' || state === 'waits' ? 'none' : state, reason };
  }

  /** Asks unless a question is on its way or has to wait. */
  ask({ jobId, attempt }: Pick<AgentJob, 'jobId' | 'attempt'>): void {
    const grant = this.#of(jobKey(jobId, attempt));
    if (grant.state !== 'none') return;
    grant.state = 'asking';
    const sentAt = this.#clock.monotonic();
    this.#source.requestGrant(jobId, attempt, grant.nonce).then(
      ({ granted, ttlMs, reason }) => {
        // The time counts from sending: on the way the answer can only have become older.
        grant.state = granted ? 'valid' : reason === 'clock' ? 'waits' : 'denied';
        grant.until = sentAt + ttlMs;
        grant.reason = reason;
        this.#answered();
      },
      () => {
        grant.state = 'none';
      },
    );
  }

  /** What had to wait may ask again. */
  retry(): void {
    for (const grant of this.#grants.values()) if (grant.state === 'waits') grant.state = 'none';
  }
  delete(key: string): void {
    this.#grants.delete(key);
  }
}
