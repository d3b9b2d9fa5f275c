import { setTimeout as delay } from 'node:timers/promises';
import { type Clock, Failure } from '@lastgood/core';
import { systemClock } from './clock.ts';

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;
const GROWTH = 1.5;

/** A clock that can also wait. `sleep` ends early when the signal aborts. */
export interface WaitingClock extends Clock {
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export const systemWaitingClock: WaitingClock = {
  ...systemClock,
  async sleep(ms, signal) {
    await delay(ms, undefined, { signal }).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  },
};

/** The failure of an aborted signal: its reason when that is a Failure, else JOB_CANCELED. */
export function cancellationOf(signal: AbortSignal, what: string): Failure {
  return signal.reason instanceof Failure ? signal.reason : new Failure('JOB_CANCELED', `${what} was canceled`);
}

export interface PollLimits {
  /** The instant of the monotonic clock (ms) after which no further check begins. */
  readonly until: number;
  readonly signal: AbortSignal;
  readonly clock: WaitingClock;
  /** Names the wait in the message of JOB_CANCELED. */
  readonly what: string;
}

/**
 * Repeats a check, with pauses that grow from 50 ms to 1 s, until it returns a value. Returns undefined at the deadline, after one last
 * check. Throws the reason of the signal, or JOB_CANCELED.
 */
export async function pollUntil<T>(
  check: () => Promise<T | undefined>,
  { until, signal, clock, what }: PollLimits,
): Promise<T | undefined> {
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * GROWTH, LONGEST_PAUSE_MS)) {
    if (signal.aborted) throw cancellationOf(signal, what);
    const found = await check();
    if (found !== undefined) return found;
    const left = until - clock.monotonic();
    if (left <= 0) return undefined;
    await clock.sleep(Math.min(pause, left), signal);
  }
}
