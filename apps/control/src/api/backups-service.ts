import { Failure, requireBackup } from '@lastgood/core';
import type { AdminApi, BackupView, SelectedBackup } from '@lastgood/protocol';
import type { BackupRecord } from '../catalog/backup-queries.ts';
import { holdStateOf } from '../dispatch/holds.ts';
import type { ApiParts } from './api-parts.ts';
import { scopeOf } from './target-selection.ts';

/** At most this many backups are searched. */
const MAX_SELECTED_FROM = 10_000;

export class BackupsService {
  readonly #parts: ApiParts;

  constructor(parts: ApiParts) {
    this.#parts = parts;
  }

  #view({ agentId, summary }: BackupRecord): BackupView {
    const { registry, ledgers } = this.#parts;
    const agent = registry.agent(agentId);
    const isHeld = summary.hold !== null;
    const holdState =
      agent === undefined
        ? isHeld
          ? 'held'
          : 'none'
        : holdStateOf(ledgers.ledger(agentId), { backupId: summary.backupId, target: summary.target, isHeld });
    return { ...summary, environment: agent?.environment ?? 'unknown', host: agent?.host ?? 'unknown', holdState };
  }

  async #record(backupId: string): Promise<BackupRecord> {
    const record = await this.#parts.catalog.backups.get(backupId);
    if (record === undefined) throw new Failure('NOT_FOUND', `there is no backup ${backupId}`);
    return record;
  }

  async list({ target, limit, atMs }: Parameters<AdminApi['backups']>[0]): Promise<BackupView[]> {
    const { backups } = this.#parts.catalog;
    const records = await backups.list(
      await scopeOf(this.#parts, target),
      atMs === undefined ? limit : MAX_SELECTED_FROM,
    );
    const wanted = records.filter(({ summary }) => atMs === undefined || Date.parse(summary.recoveryPoint) <= atMs);
    return wanted.slice(0, limit).map((record) => this.#view(record));
  }

  async get(backupId: string): Promise<BackupView> {
    return this.#view(await this.#record(backupId));
  }

  /** The backup that `wanted` means. Throws NOT_FOUND when none fits, BAD_INPUT when it is unclear which one is meant. */
  async select(input: Parameters<AdminApi['selectBackup']>[0]): Promise<SelectedBackup> {
    return requireBackup(await this.list({ target: input.target, limit: MAX_SELECTED_FROM }), input);
  }
}
