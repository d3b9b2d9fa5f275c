const MINUTE_MS = 60_000;

/** Counts failed attempts per caller and minute. */
export class AttemptLimit {
  readonly #perMinute: number;
  readonly #failed = new Map<string, number>();
  #minute = 0;

  constructor(perMinute: number) {
    this.#perMinute = perMinute;
  }

  #inMinuteOf(monotonicMs: number): void {
    const minute = Math.floor(monotonicMs / MINUTE_MS);
    if (minute !== this.#minute) this.#failed.clear();
    this.#minute = minute;
  }

  mayTry(caller: string, monotonicMs: number): boolean {
    this.#inMinuteOf(monotonicMs);
    return (this.#failed.get(caller) ?? 0) < this.#perMinute;
  }

  hasFailed(caller: string, monotonicMs: number): void {
    this.#inMinuteOf(monotonicMs);
    this.#failed.set(caller, (this.#failed.get(caller) ?? 0) + 1);
  }
}
