import { type Clock, MAX_SKEW_MS } from '@lastgood/core';

/** A clock that stands so long where it jumped to is believed again. */
const SETTLED_MS = 24 * 3_600_000;

/**
 * Notices when the wall clock of the host leaves the monotonic one: set by hand or by a broken time server, or a virtual machine
 * that slept. On one machine the clocks of repository and control plane jump along, so that no comparison shows it (D1).
 */
export class ClockWatch {
  readonly #clock: Clock;
  #anchor: { readonly wall: number; readonly monotonic: number };
  #jump = { ms: 0, since: 0 };

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#anchor = { wall: clock.now(), monotonic: clock.monotonic() };
  }

  /** By how many ms the wall clock now stands off, until that is 24 hours old. Ask from time to time, and before it matters. */
  get jumpedMs(): number {
    const wall = this.#clock.now();
    const monotonic = this.#clock.monotonic();
    const ms = wall - this.#anchor.wall - (monotonic - this.#anchor.monotonic);
    if (Math.abs(ms - this.#jump.ms) > MAX_SKEW_MS) this.#jump = { ms, since: monotonic };
    if (Math.abs(ms) > MAX_SKEW_MS && monotonic - this.#jump.since > SETTLED_MS) {
      this.#anchor = { wall, monotonic };
      this.#jump = { ms: 0, since: monotonic };
      return 0;
    }
    return ms;
  }
}
