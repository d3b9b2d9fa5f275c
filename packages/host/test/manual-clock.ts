import { setImmediate } from 'node:timers/promises';
import type { WaitingClock } from '../src/index.ts';

/** A clock that passes only while somebody sleeps: a wait of an hour takes no time, and how long it took is exact. */
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
