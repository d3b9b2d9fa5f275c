import { Failure } from '@lastgood/core';
import { raceWithAbort } from './race-with-abort.ts';

const ANSWER_MS = 30_000;

/**
 * Asks repositories, each for one thing after the other. A dead network disk never answers, and each call into it holds one of
 * the few threads of the process for good: it costs one, however many targets lie on it, and whoever comes later hears at once that
 * the disk does not answer.
 */
export class SerialQueue {
  readonly #answerMs: number;
  readonly #stop: AbortSignal | undefined;
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #unresponsive = new Set<string>();

  /** `stop` leaves behind what is asked then. */
  constructor(answerMs = ANSWER_MS, stop?: AbortSignal) {
    this.#answerMs = answerMs;
    this.#stop = stop;
  }

  /** Who was asked and has not answered in time, as of now. */
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
