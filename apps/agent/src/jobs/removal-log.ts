import type { Clock } from '@lastgood/core';
import { z } from 'zod';
import type { Journal } from '../journal/journal.ts';

const DAY_MS = 86_400_000;
const instantsSchema = z.array(z.number());

/** When backups of a target were removed, in the journal: the daily limit of the agent file holds across restarts. */
export class RemovalLog {
  readonly #journal: Journal;
  readonly #key: string;
  readonly #clock: Pick<Clock, 'now'>;

  constructor(journal: Journal, target: string, clock: Pick<Clock, 'now'>) {
    this.#journal = journal;
    this.#key = `removals:${target}`;
    this.#clock = clock;
  }

  /** An instant in the future comes from a clock that was wrong. It counts, so that a jump of the clock allows nothing more. */
  #lastDay(): number[] {
    const instants = instantsSchema.parse(JSON.parse(this.#journal.note(this.#key) ?? '[]'));
    return instants.filter((at) => at > this.#clock.now() - DAY_MS);
  }
  get countLastDay(): number {
    return this.#lastDay().length;
  }
  /** To be called before a backup is removed: what an interrupted removal has done counts. */
  record(): void {
    this.#journal.remember(this.#key, JSON.stringify([...this.#lastDay(), this.#clock.now()]));
  }
}
