import { setImmediate } from 'node:timers/promises';
import type { WaitingClock } from '../src/index.ts';

/** A clock that advances only during `sleep`: a wait of an hour takes no real time, and its duration is exact. */
export class ManualClock implements WaitingClock {
  #ms = 0;
  now(): number {
    return this.#ms;
  }
  monotonic(): number {
    return this.#ms;
  }
  async sleep(ms: number): Promise<void> {
    this.#ms += ms;
    await setImmediate();
  }
}
