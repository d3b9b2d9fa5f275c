import { randomUUID } from 'node:crypto';
import { Failure, type StepRunner } from '@lastgood/core';
import { beginStep, type Compensation, completeStep, type StepRequest } from '@lastgood/protocol';
import { faultPoint } from '../fault-point.ts';
import type { Journal } from '../journal/journal.ts';
import type { Compensations } from './compensations.ts';

/** The steps of one running attempt. */
export class JobSteps implements StepRunner {
  readonly #journal: Journal;
  readonly #compensations: Compensations;
  readonly #key: string;
  readonly #signal: AbortSignal;

  constructor(journal: Journal, compensations: Compensations, key: string, signal: AbortSignal) {
    this.#journal = journal;
    this.#compensations = compensations;
    this.#key = key;
    this.#signal = signal;
  }

  async run<T>(step: StepRequest, effect: () => Promise<T>): Promise<T> {
    return (await this.#carryOut(step, effect)).value;
  }

  async during<T>(
    step: StepRequest & { readonly compensation: Compensation },
    effect: () => Promise<void>,
    work: () => Promise<T>,
  ): Promise<T> {
    const { stepId } = await this.#carryOut(step, effect);
    let value: T;
    try {
      value = await work();
    } catch (error) {
      await this.#compensations.run(this.#key, stepId);
      throw error;
    }
    // What the work has changed stays: only this step is taken back.
    if (!(await this.#compensations.runOne(this.#key, stepId)))
      throw new Failure('JOB_INTERRUPTED', `the work is done, but the step "${step.kind}" could not be taken back`, {
        remedy: 'See the findings of the target. The agent tries again to take the step back.',
      });
    return value;
  }

  async #carryOut<T>(step: StepRequest, effect: () => Promise<T>): Promise<{ stepId: string; value: T }> {
    this.#signal.throwIfAborted();
    const stepId = randomUUID();
    const { before, after } = this.#journal.update((ledger) => beginStep(ledger, this.#key, stepId, step));
    if (after === before) throw new Failure('JOB_CANCELED', 'the job has ended in the journal');
    faultPoint(`step-begun:${step.kind}`);
    const value = await effect();
    faultPoint(`step-effect:${step.kind}`);
    this.#journal.update((ledger) => completeStep(ledger, this.#key, stepId));
    faultPoint(`step-done:${step.kind}`);
    return { stepId, value };
  }

  /** Takes back every open step, because the attempt does not succeed. What fails is tried again later. */
  async compensate(): Promise<void> {
    await this.#compensations.run(this.#key);
  }
}
