import { Failure } from '@lastgood/core';
import { untilAborted } from '../until-aborted.ts';

const ANSWER_MS = 30_000;

/**
 * Opens repositories, those of one folder one after the other. A dead network disk never answers, and each call into it holds one of
 * the few threads of the process for good: it costs one, however many targets lie on it, and whoever comes later hears at once that
 * the disk does not answer.
 */
export class Openings {
  readonly #answerMs: number;
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #silent = new Set<string>();

  constructor(answerMs = ANSWER_MS) {
    this.#answerMs = answerMs;
  }

  /** The folders that were asked and have not answered in time, as of now. */
  get silent(): string[] {
    return [...this.#silent];
  }

  /** Throws STORE_FAILED when the folder does not answer. */
  async inTurn<T>(folder: string, open: () => Promise<T>): Promise<T> {
    const silent = (): Failure => new Failure('STORE_FAILED', `${folder} does not answer`);
    const mine = (this.#turns.get(folder) ?? Promise.resolve()).then(async () => {
      if (this.#silent.has(folder)) throw silent();
      const opening = open().finally(() => this.#silent.delete(folder));
      return await untilAborted(opening, AbortSignal.timeout(this.#answerMs), () => {
        this.#silent.add(folder);
        return silent();
      });
    });
    this.#turns.set(
      folder,
      mine.catch(() => undefined),
    );
    return await mine;
  }
}
