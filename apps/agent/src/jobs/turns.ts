import { Failure } from '@lastgood/core';
import { untilAborted } from '../until-aborted.ts';

const ANSWER_MS = 30_000;

/**
 * Asks repositories, each for one thing after the other. A dead network disk never answers, and each call into it holds one of
 * the few threads of the process for good: it costs one, however many targets lie on it, and whoever comes later hears at once that
 * the disk does not answer.
 */
export class Turns {
  readonly #answerMs: number;
  readonly #stop: AbortSignal | undefined;
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #silent = new Set<string>();

  /** `stop` leaves behind what is asked then. */
  constructor(answerMs = ANSWER_MS, stop?: AbortSignal) {
    this.#answerMs = answerMs;
    this.#stop = stop;
  }

  /** Who was asked and has not answered in time, as of now. */
  get silent(): string[] {
    return [...this.#silent];
  }

  /** Resolves when nobody is asked any more; what a dead disk holds is left behind. */
  async settled(): Promise<void> {
    await Promise.all(this.#turns.values());
  }

  /** Throws STORE_FAILED when `who` (a folder, or words for one) does not answer. */
  async inTurn<T>(who: string, ask: () => Promise<T>): Promise<T> {
    const silent = (): Failure => new Failure('STORE_FAILED', `${who} does not answer`);
    const mine = (this.#turns.get(who) ?? Promise.resolve()).then(async () => {
      if (this.#silent.has(who)) throw silent();
      const asking = ask().finally(() => this.#silent.delete(who));
      const late = AbortSignal.timeout(this.#answerMs);
      return await untilAborted(asking, this.#stop === undefined ? late : AbortSignal.any([this.#stop, late]), () => {
        this.#silent.add(who);
        return silent();
      });
    });
    this.#turns.set(
      who,
      mine.catch(() => undefined),
    );
    return await mine;
  }
}
