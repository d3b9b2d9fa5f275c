import { Failure, requireBackup } from '@lastgood/core';
import type { AdminApi, BackupView, SelectedBackup } from '@lastgood/protocol';
import type { BackupRecord } from '../catalog/backup-queries.ts';
import type { Change } from '../catalog/catalog.ts';
import { rotationThatMayRemove } from '../dispatch/holds.ts';
import { type ApiParts, auditChange } from './api-parts.ts';
import { scopeOf } from './target-selection.ts';

/** At most this many backups are searched. */
const MAX_SELECTED_FROM = 10_000;

export class BackupsService {
  readonly #parts: ApiParts;

  constructor(parts: ApiParts) {
    this.#parts = parts;
  }

  #view({ agentId, summary, held }: BackupRecord): BackupView {
    const agent = this.#parts.registry.agent(agentId);
    return { ...summary, environment: agent?.environment ?? 'unknown', host: agent?.host ?? 'unknown', held };
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

  /** Holds a backup or releases it. Throws CONFLICT if a rotation may be removing it at this moment. */
  async hold({ backupId, held, reason }: Parameters<AdminApi['hold']>[0]): Promise<BackupView> {
    const { ledgers, clock, actor } = this.#parts;
    const { agentId } = await this.#record(backupId);
    const change: Change = { type: 'backup.hold', backupId, held, reason, by: actor.name, at: clock.now() };
    const changes = [change, auditChange(this.#parts, held ? 'backup.hold' : 'backup.release', backupId, reason)];
    // A step of its agent, as the grant of a rotation is: whichever comes first, the other one knows of it.
    return await ledgers.apply(agentId, async (ledger) => {
      const backup = await this.#record(backupId);
      const rotation = held ? rotationThatMayRemove(ledger, backup.summary.target, backupId) : undefined;
      if (rotation !== undefined)
        throw new Failure('CONFLICT', `rotation ${rotation.jobId} may be removing this backup at this moment`, {
          remedy: 'Wait for the rotation to end (`lastgood jobs list`), then hold what is left.',
        });
      return { ledger, value: this.#view({ ...backup, held }), changes };
    });
  }
}
