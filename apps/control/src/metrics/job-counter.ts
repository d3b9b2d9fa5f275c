import { TERMINAL_STATES } from '@lastgood/protocol';
import type { LedgerStore } from '../dispatch/ledger-store.ts';

export interface JobCount {
  readonly command: string;
  readonly result: string;
  readonly count: number;
}

/** Counts the jobs that end while this process runs. Prometheus counters may start again at 0. */
export class JobCounter implements Disposable {
  readonly #counts = new Map<string, JobCount>();
  readonly #unsubscribe: () => void;

  constructor(ledgers: LedgerStore) {
    this.#unsubscribe = ledgers.subscribe((_agentId, before, after) => {
      for (const [jobId, { state, spec }] of after.jobs) {
        const was = before.jobs.get(jobId)?.state;
        if (TERMINAL_STATES.has(state) && (was === undefined || !TERMINAL_STATES.has(was)))
          this.#add(spec.command, state);
      }
    });
  }

  #add(command: string, result: string): void {
    const key = `${command} ${result}`;
    this.#counts.set(key, { command, result, count: (this.#counts.get(key)?.count ?? 0) + 1 });
  }
  get counts(): readonly JobCount[] {
    return [...this.#counts.values()];
  }
  [Symbol.dispose](): void {
    this.#unsubscribe();
  }
}
