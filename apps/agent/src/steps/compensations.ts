import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Bug, type Clock, type Engine, Failure, noSteps, toWireError } from '@lastgood/core';
import {
  type Compensation,
  compensateStep,
  failCompensation,
  type JobStep,
  openSteps,
  type StepParams,
} from '@lastgood/protocol';
import { faultPoint } from '../fault-point.ts';
import type { Journal } from '../journal/journal.ts';
import type { Log } from '../log.ts';
import { raceWithAbort } from '../race-with-abort.ts';

/** A handler that takes longer than this counts as failed, and is waited for before it is called again. */
const LIMIT_MS = 5 * 60_000;

export interface CompensationContext {
  /** Aborted when the handler takes too long. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  log(message: string): void;
}
/** Takes back what a step has changed, whether or not it has happened, and however often it is called. */
export type CompensationHandler = (params: StepParams, context: CompensationContext) => Promise<void>;

export interface CompensationParts {
  readonly journal: Journal;
  /** The engine of a target, which takes back its own steps. */
  readonly engineOf?: (target: string) => Engine | undefined;
  /** A private folder for the work of a handler. */
  readonly workDir?: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly limitMs?: number;
}

/** The handlers by kind, and the one way to call them. */
export class Compensations {
  readonly #parts: CompensationParts;
  readonly #handlers = new Map<string, CompensationHandler>();

  constructor(parts: CompensationParts) {
    this.#parts = parts;
  }

  /** Throws Bug for a kind that is registered already. */
  register(kind: string, handler: CompensationHandler): void {
    if (this.#handlers.has(kind)) throw new Bug(`two handlers for the compensation "${kind}"`);
    this.#handlers.set(kind, handler);
  }

  #openSteps(key: string): JobStep[] {
    const job = this.#parts.journal.ledger.jobs.get(key);
    return job === undefined ? [] : openSteps(job);
  }

  /**
   * Takes back the open steps of an attempt, the newest first, down to `lastId` or all of them. Each is journaled. Stops at the
   * first one that fails, because the ones before it were there when it was done. True: nothing is left.
   */
  async run(key: string, lastId?: string): Promise<boolean> {
    for (const { stepId } of this.#openSteps(key)) {
      if (!(await this.runOne(key, stepId))) return false;
      if (stepId === lastId) return true;
    }
    return true;
  }

  /** Takes back one step. True: it is taken back. */
  async runOne(key: string, stepId: string): Promise<boolean> {
    const step = this.#openSteps(key).find((each) => each.stepId === stepId);
    return step === undefined || step.compensation === null || (await this.#compensate(key, step, step.compensation));
  }

  async #compensate(key: string, step: JobStep, compensation: Compensation): Promise<boolean> {
    const { journal, log, limitMs = LIMIT_MS } = this.#parts;
    const { kind } = compensation;
    const fields = { job: key, step: step.kind, compensation: kind };
    faultPoint(`compensation-begun:${kind}`);
    const signal = AbortSignal.timeout(limitMs);
    const handling = this.#handle(key, compensation, signal, (message) => log.info(fields, message));
    const late = (): Failure =>
      new Failure('JOB_DEADLINE', `taking back "${step.kind}" took longer than ${limitMs} ms`);
    try {
      await raceWithAbort(handling, signal, late);
    } catch (error) {
      const wire = toWireError(error);
      log.error({ ...fields, error: wire }, 'cannot take back a step; it will be tried again');
      journal.update((ledger) => failCompensation(ledger, key, step.stepId, wire));
      // Two calls of one handler at the same time would get into each other's way.
      await handling.catch(() => undefined);
      return false;
    }
    faultPoint(`compensation-effect:${kind}`);
    journal.update((ledger) => compensateStep(ledger, key, step.stepId));
    faultPoint(`compensation-done:${kind}`);
    log.info(fields, 'took back a step');
    return true;
  }

  async #handle(
    key: string,
    { kind, params }: Compensation,
    signal: AbortSignal,
    log: (message: string) => void,
  ): Promise<void> {
    const { clock } = this.#parts;
    const handler = this.#handlers.get(kind);
    if (handler !== undefined) return await handler(params, { signal, clock, log });
    const ofEngine = this.#engineOf(key)?.compensationOf(kind) ?? null;
    if (ofEngine === null)
      throw new Failure('COMMAND_UNSUPPORTED', `this agent does not know the compensation "${kind}"`, {
        remedy: 'Start the version of the agent that ran the job, with the target in its agent file.',
      });
    const workDir = await mkdtemp(join(this.#parts.workDir ?? tmpdir(), 'compensation-'));
    try {
      await ofEngine(params, { workDir, signal, clock, log, steps: noSteps, progress: () => undefined });
    } finally {
      await rm(workDir, { recursive: true, force: true });
    }
  }

  #engineOf(key: string): Engine | undefined {
    const job = this.#parts.journal.ledger.jobs.get(key);
    return job === undefined ? undefined : this.#parts.engineOf?.(job.spec.target);
  }
}
