import { Failure } from '@lastgood/core';
import { raceWithAbort } from './race-with-abort.ts';

const ANSWER_MS = 30_000;

/**
 * Opens each repository once at a time. A dead network disk never answers, and each call into it blocks one of the few threads of
 * the process permanently. So it costs one thread however many targets use it, and later calls fail at once.
 */
export class SerialQueue {
  readonly #answerMs: number;
  readonly #stop: AbortSignal | undefined;
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #unresponsive = new Set<string>();

  /** `stop` ends the wait for open calls. */
  constructor(answerMs = ANSWER_MS, stop?: AbortSignal) {
    this.#answerMs = answerMs;
    this.#stop = stop;
  }

  /** The folders that have not answered in time. */
  get unresponsive(): string[] {
    return [...this.#unresponsive];
  }

  /** Resolves when nobody is asked any more; what a dead disk holds is left behind. */
  async settled(): Promise<void> {
    await Promise.all(this.#turns.values());
  }

  /** Throws IO_ERROR when `who` (a folder, or words for one) does not answer. */
  async run<T>(who: string, ask: () => Promise<T>): Promise<T> {
    const unresponsive = (): Failure => new Failure('IO_ERROR', `${who} does not answer`);
    const mine = (this.#turns.get(who) ?? Promise.resolve()).then(async () => {
      if (this.#unresponsive.has(who)) throw unresponsive();
      const asking = ask().finally(() => this.#unresponsive.delete(who));
      const late = AbortSignal.timeout(this.#answerMs);
      return await raceWithAbort(asking, this.#stop === undefined ? late : AbortSignal.any([this.#stop, late]), () => {
        this.#unresponsive.add(who);
        return unresponsive();
      });
    });
    this.#turns.set(
      who,
      mine.catch(() => undefined),
    );
    return await mine;
  }
}
