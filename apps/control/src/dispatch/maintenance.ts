import type { Clock } from '@lastgood/core';
import { expireLeases } from '@lastgood/protocol';
import type { Catalog } from '../catalog/catalog.ts';
import type { Log } from '../log.ts';
import { pruneJobHistory } from './job-history.ts';
import type { LedgerStore } from './ledger-store.ts';

const PRUNE_EVERY_MS = 3_600_000;

export interface MaintenanceParts {
  readonly catalog: Catalog;
  readonly ledgers: LedgerStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly everyMs: number;
  /** Ends the sessions that are silent. Needs no disk. */
  readonly checkSessions: () => void;
}

/** What the control plane does at regular intervals: silent sessions, expired leases, old jobs, a catalog that cannot be written. */
export class Maintenance implements Disposable {
  readonly #parts: MaintenanceParts;
  readonly #timer: NodeJS.Timeout;
  #pruneAt = 0;
  #running = false;

  constructor(parts: MaintenanceParts) {
    this.#parts = parts;
    this.#timer = setInterval(() => void this.#round(), parts.everyMs);
    this.#timer.unref();
  }

  async #round(): Promise<void> {
    // A slow disk must not pile rounds up.
    if (this.#running) return;
    this.#running = true;
    const { ledgers, clock, log, checkSessions } = this.#parts;
    try {
      checkSessions();
      await this.#probeCatalog();
      for (const agentId of ledgers.agentIds)
        await ledgers.apply(agentId, (ledger) => ({ ledger: expireLeases(ledger, clock.now()), value: undefined }));
      await this.#prune();
    } catch (error) {
      log.error({ error: String(error) }, 'cannot write the catalog');
    } finally {
      this.#running = false;
    }
  }

  /** There may be nothing to write for long: whether the catalog can be written again is found out here. */
  async #probeCatalog(): Promise<void> {
    const { catalog, clock, log } = this.#parts;
    if ((await catalog.failing()) === null) return;
    await catalog.commit([{ type: 'probe', at: clock.now() }]);
    log.info({}, 'the catalog can be written again');
  }

  async #prune(): Promise<void> {
    const { catalog, clock, log } = this.#parts;
    if (clock.monotonic() < this.#pruneAt) return;
    this.#pruneAt = clock.monotonic() + PRUNE_EVERY_MS;
    const removed = await pruneJobHistory(catalog, clock.now());
    if (removed > 0) log.info({ removed }, 'removed old jobs from the history');
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
