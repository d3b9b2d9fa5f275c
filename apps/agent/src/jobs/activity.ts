import type { Clock } from '@lastgood/core';
import { jobKey, type Progress } from '@lastgood/protocol';

export interface ProgressNote {
  readonly phase: string;
  readonly doneBytes: number;
  readonly totalBytes: number | null;
}
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
  note({ jobId, attempt }: { jobId: string; attempt: number }, { phase, doneBytes, totalBytes }: ProgressNote): void {
    const key = jobKey(jobId, attempt);
    const at = this.#clock.monotonic();
    const slot = this.#slots.get(key);
    // Each phase has a rate of its own.
    const before = slot?.progress.phase.split(' ')[0] === phase.split(' ')[0] ? slot : undefined;
    const seen = before?.seen ?? { at, bytes: doneBytes };
    const elapsed = (at - seen.at) / 1000;
    const measured = elapsed > 1;
    const bytesPerSecond = measured
      ? Math.max(0, (doneBytes - seen.bytes) / elapsed)
      : (before?.progress.bytesPerSecond ?? 0);
    const progress = {
      jobId,
      attempt,
      phase: phase.slice(0, 64),
      doneBytes,
      totalBytes,
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
