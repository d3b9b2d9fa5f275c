import type { Failure } from '@lastgood/core';
import { type AgentChange, type AgentQueries, agentAppliers } from './agents.ts';
import { type AlertChange, type AlertQueries, alertAppliers } from './alerts.ts';
import { type AuditChange, type AuditQueries, auditAppliers } from './audit.ts';
import { type BackupChange, backupAppliers } from './backup-changes.ts';
import type { BackupQueries } from './backup-queries.ts';
import { type BrowserSessionChange, type BrowserSessionQueries, browserSessionAppliers } from './browser-sessions.ts';
import type { Appliers, Db } from './db.ts';
import { type EvidenceChange, type EvidenceQueries, evidenceAppliers } from './evidence.ts';
import { type FleetFileChange, type FleetFileQueries, fleetFileAppliers } from './fleet-files.ts';
import { type InventoryChange, inventoryAppliers, type TargetQueries } from './inventory.ts';
import { type JobChange, type JobQueries, jobAppliers } from './jobs.ts';
import { type LedgerChange, type LedgerQueries, ledgerAppliers } from './ledgers.ts';
import { type MetaChange, metaAppliers } from './meta.ts';
import { type NotificationChange, type NotificationQueries, notificationAppliers } from './notifications.ts';
import { type OccurrenceChange, type OccurrenceQueries, occurrenceAppliers } from './occurrences.ts';
import { type RunbookChange, type RunbookQueries, runbookAppliers } from './runbooks.ts';
import { type ScheduleChange, type ScheduleQueries, scheduleAppliers } from './schedules.ts';
import { type TargetStatusChange, type TargetStatusQueries, targetStatusAppliers } from './target-statuses.ts';
import { type TokenChange, type TokenQueries, tokenAppliers } from './tokens.ts';

/** One change of the catalog. A list of changes is committed together or not at all. */
export type Change =
  | AgentChange
  | AlertChange
  | AuditChange
  | BackupChange
  | BrowserSessionChange
  | EvidenceChange
  | FleetFileChange
  | InventoryChange
  | JobChange
  | LedgerChange
  | MetaChange
  | NotificationChange
  | OccurrenceChange
  | RunbookChange
  | ScheduleChange
  | TargetStatusChange
  | TokenChange;

const appliers: Appliers<Change> = {
  ...agentAppliers,
  ...alertAppliers,
  ...auditAppliers,
  ...backupAppliers,
  ...browserSessionAppliers,
  ...evidenceAppliers,
  ...fleetFileAppliers,
  ...inventoryAppliers,
  ...jobAppliers,
  ...ledgerAppliers,
  ...metaAppliers,
  ...notificationAppliers,
  ...occurrenceAppliers,
  ...runbookAppliers,
  ...scheduleAppliers,
  ...targetStatusAppliers,
  ...tokenAppliers,
};

/** Writes one change; the caller owns the transaction. */
export function applyChange<C extends Change>(db: Db, change: C): void {
  const apply = appliers[change.type] as (db: Db, change: C) => void;
  apply(db, change);
}

/**
 * Everything the control plane remembers. Asynchronous throughout, so that the store beneath can change; nothing outside this
 * folder knows SQL.
 */
export interface Catalog {
  /** Resolves when the changes are durable; rejects with none of them made. */
  commit(changes: readonly Change[]): Promise<void>;
  /** Why the newest change could not be written; null if it was. */
  failing(): Promise<Failure | null>;
  /** How the open connection writes, read from the connection itself (C1). */
  durability(): Promise<{ journalMode: unknown; synchronous: unknown; foreignKeys: unknown }>;
  incarnation(): Promise<string>;
  /** Writes a consistent copy into a new file while others read and write. The file is not synced. */
  copyTo(file: string): Promise<void>;
  readonly agents: AgentQueries;
  readonly alerts: AlertQueries;
  readonly audit: AuditQueries;
  readonly backups: BackupQueries;
  readonly browserSessions: BrowserSessionQueries;
  readonly evidence: EvidenceQueries;
  readonly fleetFiles: FleetFileQueries;
  readonly jobs: JobQueries;
  readonly ledgers: LedgerQueries;
  readonly notifications: NotificationQueries;
  readonly occurrences: OccurrenceQueries;
  readonly runbooks: RunbookQueries;
  readonly schedules: ScheduleQueries;
  readonly targets: TargetQueries;
  readonly targetStatuses: TargetStatusQueries;
  readonly tokens: TokenQueries;
  close(): Promise<void>;
}
