import type { Clock, JobProgress } from '@lastgood/core';
import { jobKey, type Progress } from '@lastgood/protocol';

interface Slot {
  readonly progress: Progress;
  readonly seen: { readonly at: number; readonly bytes: number };
}

/** What running jobs show to others: their latest progress, and how many jobs of each target have ended. Kept in memory only. */
export class Activity {
  readonly #clock: Clock;
  readonly #slots = new Map<string, Slot>();
  readonly #ends = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get progress(): Progress[] {
    return [...this.#slots.values()].map(({ progress }) => progress);
  }

  /** Changes when a job of the target ends: a reading of its repository that began earlier is out of date. */
  generation(target: string): number {
    return this.#ends.get(target) ?? 0;
  }

  /** Replaces the progress of an attempt; progress is a slot, never a queue. */
  note(
    { jobId, attempt }: { jobId: string; attempt: number },
    { phase, doneBytes, totalBytes, doneItems, totalItems }: JobProgress,
  ): void {
    const key = jobKey(jobId, attempt);
    const at = this.#clock.monotonic();
    const slot = this.#slots.get(key);
    // Each phase has a rate of its own.
    const before = slot?.progress.phase === phase ? slot : undefined;
    const seen = before?.seen ?? { at, bytes: doneBytes };
    const elapsed = (at - seen.at) / 1000;
    const measured = elapsed > 1;
    const bytesPerSecond = measured
      ? Math.max(0, (doneBytes - seen.bytes) / elapsed)
      : (before?.progress.bytesPerSecond ?? 0);
    const progress = {
      jobId,
      attempt,
      phase,
      doneBytes,
      totalBytes,
      ...(doneItems === undefined || totalItems === undefined ? {} : { doneItems, totalItems }),
      bytesPerSecond: Math.round(bytesPerSecond),
      at: this.#clock.now(),
    };
    this.#slots.set(key, { progress, seen: measured ? { at, bytes: doneBytes } : seen });
  }

  /** The attempt no longer works on its target. */
  ended(target: string): void {
    this.#ends.set(target, this.generation(target) + 1);
  }
  /** The process of the attempt is gone. */
  clear(key: string): void {
    this.#slots.delete(key);
  }
}
