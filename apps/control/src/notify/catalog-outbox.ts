import type { Catalog } from '../catalog/catalog.ts';
import type { OutboxEntry, OutboxOutcome, OutboxStore } from './outbox-runner.ts';

/** The outbox in the catalog. */
export class CatalogOutbox implements OutboxStore {
  readonly #catalog: Catalog;

  constructor(catalog: Catalog) {
    this.#catalog = catalog;
  }
  async due(nowMs: number, limit: number): Promise<readonly OutboxEntry[]> {
    return await this.#catalog.notifications.due(nowMs, limit);
  }
  async nextDueMs(): Promise<number | null> {
    return await this.#catalog.notifications.nextTryAt();
  }
  async record(entryId: string, outcome: OutboxOutcome): Promise<void> {
    await this.#catalog.commit([{ type: 'notification.record', entryId, outcome }]);
  }
}
