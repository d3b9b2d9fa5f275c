import { setTimeout as delay } from 'node:timers/promises';
import { failureOf, isTransient, s3ErrorOf } from './s3-errors.ts';
import type { S3Environment } from './s3-location.ts';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 20_000;

/** Decides whether a request that failed is repeated, and waits before it is: longer each time, up to a deadline, with jitter. */
export class Retry {
  readonly #environment: Pick<S3Environment, 'clock' | 'random' | 'retryForMs'>;
  readonly #what: string;
  readonly #signal: AbortSignal | undefined;
  #failures = 0;
  #deadline: number;

  constructor(environment: Pick<S3Environment, 'clock' | 'random' | 'retryForMs'>, what: string, signal?: AbortSignal) {
    this.#environment = environment;
    this.#what = what;
    this.#signal = signal;
    this.#deadline = environment.clock.monotonic() + environment.retryForMs;
  }

  /** The request has failed before, so an earlier one may have had an effect. */
  get isRepeated(): boolean {
    return this.#failures > 0;
  }

  /** The work moved on: the deadline starts anew. */
  progressed(): void {
    this.#failures = 0;
    this.#deadline = this.#environment.clock.monotonic() + this.#environment.retryForMs;
  }

  /** Waits, or throws when the error is not of the network or the server, is permanent, or the deadline has passed. */
  async pause(error: unknown): Promise<void> {
    if (this.#signal?.aborted) throw this.#signal.reason;
    const found = s3ErrorOf(error);
    if (found === undefined) throw error;
    const { clock, random } = this.#environment;
    if (!isTransient(found) || clock.monotonic() >= this.#deadline) throw failureOf(found, this.#what, error);
    const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failures);
    this.#failures += 1;
    const ms = Math.min(longest / 2 + (random() * longest) / 2, Math.max(1, this.#deadline - clock.monotonic()));
    await delay(ms, undefined, { signal: this.#signal }).catch(() => {
      throw this.#signal?.reason;
    });
  }
}
