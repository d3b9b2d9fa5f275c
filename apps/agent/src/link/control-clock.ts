import type { Clock } from '@lastgood/core';

/** What is known of the control plane's clock. It continues with the monotonic clock, which no jump of this host's clock moves (D1). */
export class ControlClock {
  readonly #clock: Pick<Clock, 'monotonic'>;
  #known: { readonly controlMs: number; readonly at: number } | undefined;

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock;
  }

  /** The control plane's time now; null before it was ever reported. */
  get now(): number | null {
    return this.#known === undefined ? null : this.#known.controlMs + this.#clock.monotonic() - this.#known.at;
  }

  /** Takes the time from the answer to a call that was sent at `sentAt` (monotonic). Half of the round trip has passed since. */
  record(controlMs: number, sentAt: number): void {
    const at = this.#clock.monotonic();
    this.#known = { controlMs: controlMs + (at - sentAt) / 2, at };
  }
}
