import { setTimeout as delay } from 'node:timers/promises';
import { type AgentJob, type AgentLedger, jobKey, openSteps } from '@lastgood/protocol';
import type { Journal } from '../journal/journal.ts';
import type { Compensations } from './compensations.ts';

const FIRST_MS = 1_000;
const MOST_MS = 60_000;
const backoffMs = (tries: number): number => Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(tries, 10));

export interface CompensatorParts {
  readonly journal: Journal;
  readonly compensations: Compensations;
  /** True while the runner works on the attempt: it takes back the steps itself. */
  readonly isRunning: (key: string) => boolean;
  /** Ends an attempt of an earlier process, after its steps were tried to be taken back. */
  readonly settle: (job: AgentJob) => Promise<void>;
  readonly backoffMs?: (tries: number) => number;
}

/**
 * Takes back the steps that nobody works on: those of an earlier process at once, and those that could not be taken back again and
 * again. Until then no job starts on their target (startableJobs), and the attempt of an earlier process is not reported as ended
 * before its first try.
 */
export class Compensator {
  readonly #parts: CompensatorParts;
  readonly #stop = new AbortController();
  readonly #loops = new Map<string, Promise<void>>();
  readonly #firstTries = new Map<string, Promise<void>>();
  readonly #unsubscribe: () => void;

  /** Starts with what earlier processes have left. */
  constructor(parts: CompensatorParts) {
    this.#parts = parts;
    this.#unsubscribe = parts.journal.subscribe((_before, after) => this.#follow(after));
    for (const [key, job] of parts.journal.ledger.jobs) {
      if (openSteps(job).length === 0) continue;
      const first = Promise.withResolvers<void>();
      const { target } = job.spec;
      this.#firstTries.set(
        target,
        Promise.all([this.#firstTries.get(target), first.promise]).then(() => undefined),
      );
      this.#start(key, 0, first.resolve);
    }
  }

  /** Resolves when the steps that earlier processes have left on a target were tried to be taken back. */
  async firstTry(target: string): Promise<void> {
    await this.#firstTries.get(target);
  }

  #follow(ledger: AgentLedger): void {
    for (const job of ledger.jobs.values()) {
      const key = jobKey(job.jobId, job.attempt);
      // The runner has tried just now.
      if (job.state === 'finished' && openSteps(job).length > 0 && !this.#parts.isRunning(key)) this.#start(key, 1);
    }
  }

  #start(key: string, tries: number, tried?: () => void): void {
    if (this.#loops.has(key) || this.#stop.signal.aborted) return;
    const loop = this.#loop(key, tries, tried).finally(() => this.#loops.delete(key));
    this.#loops.set(key, loop);
  }

  async #loop(key: string, firstTries: number, tried: (() => void) | undefined): Promise<void> {
    const { journal, compensations, settle, backoffMs: wait = backoffMs } = this.#parts;
    const { signal } = this.#stop;
    for (let tries = firstTries; !signal.aborted; tries += 1) {
      if (tries > 0) await delay(wait(tries - 1), undefined, { signal }).catch(() => undefined);
      if (signal.aborted) break;
      const done = await compensations.run(key);
      const job = journal.ledger.jobs.get(key);
      if (job?.state === 'running') await settle(job);
      tried?.();
      if (done) return;
    }
    tried?.();
  }

  /** Starts no further try, and waits for the ones that run. */
  async stop(): Promise<void> {
    this.#unsubscribe();
    this.#stop.abort();
    await Promise.all(this.#loops.values());
  }
}
