import type { Failure } from '@lastgood/core';
import type { AuditEntry, BackupSummary, ControlJob, ControlLedger, Scope, TargetInventory } from '@lastgood/protocol';

export interface AgentRecord {
  readonly agentId: string;
  readonly installId: string;
  readonly environment: string;
  readonly host: string;
  readonly labels: Record<string, string>;
  readonly publicKey: string;
  readonly enrolledAt: number;
  readonly agentVersion: string | null;
  readonly lastSeenAt: number | null;
  readonly quarantinedAt: number | null;
}
export interface TokenRecord {
  readonly id: string;
  readonly hash: string;
  readonly name: string;
  readonly kind: 'api' | 'enroll';
  readonly scope: Scope | null;
  readonly environment: string | null;
  readonly host: string | null;
  readonly createdAt: number;
  readonly expiresAt: number | null;
  readonly lastUsedAt: number | null;
  readonly revokedAt: number | null;
  readonly usesLeft: number | null;
}
/** A token that still opens the admin API. */
export const isLiving = (token: TokenRecord, now: number): boolean =>
  token.kind === 'api' && token.revokedAt === null && (token.expiresAt === null || token.expiresAt >= now);
/** One of those that must never be none, for only they make others. */
export const isLivingAdmin = (token: TokenRecord, now: number): boolean =>
  token.scope === 'admin' && isLiving(token, now);

export interface JobRecord {
  readonly job: ControlJob;
  readonly agentId: string;
  readonly createdAt: number;
  readonly createdBy: string;
  readonly idempotencyKey: string | null;
}
export interface TargetRecord {
  readonly agentId: string;
  readonly inventory: TargetInventory;
  readonly seenAt: number;
}
export interface BackupRecord {
  readonly agentId: string;
  readonly summary: BackupSummary;
  readonly held: boolean;
}
export type NewAuditEntry = Omit<AuditEntry, 'id'>;
/** Which rows of a list; all when empty. */
export interface Scoped {
  readonly agentId?: string;
  readonly target?: string;
}

export interface NewestGood {
  readonly agentId: string;
  readonly target: string;
  readonly lastGood: BackupSummary;
  readonly lastProven: BackupSummary | null;
}

/** The newest good backups of a target that hold one database. */
export interface Coverage {
  readonly database: string;
  readonly lastGood: BackupSummary;
  readonly lastProven: BackupSummary | null;
}

/** One change of the catalog. A list of changes is committed together or not at all. */
export type Change =
  | {
      readonly type: 'ledger';
      readonly before: ControlLedger | null;
      readonly after: ControlLedger;
      readonly now: number;
    }
  | { readonly type: 'job'; readonly record: JobRecord }
  /** Ended jobs that are kept no longer. */
  | { readonly type: 'forgetJobs'; readonly jobIds: readonly string[] }
  /** A host was enrolled, or enrolled again: the one change that gives an agent another key. */
  | { readonly type: 'agent'; readonly agent: AgentRecord }
  | {
      readonly type: 'agentSeen';
      readonly agentId: string;
      readonly at: number;
      /** Left out when it did not say. */
      readonly agentVersion?: string;
    }
  | { readonly type: 'agentQuarantined'; readonly agentId: string; readonly at: number }
  | {
      readonly type: 'inventory';
      readonly agentId: string;
      readonly targets: readonly TargetInventory[];
      readonly seenAt: number;
    }
  /** What an agent's scan of its repositories saw: what is in the catalog and not in the list becomes missing (B11). */
  | {
      readonly type: 'scan';
      readonly agentId: string;
      /** False: only the newest backups are in the list, for older ones it says nothing. */
      readonly complete: boolean;
      readonly backups: readonly BackupSummary[];
      /** What a rotation has removed leaves the catalog. */
      readonly removed: readonly string[];
      /** The targets whose repository was read. */
      readonly targets: readonly string[];
    }
  | { readonly type: 'backup'; readonly agentId: string; readonly backup: BackupSummary }
  | { readonly type: 'removedBackups'; readonly agentId: string; readonly backupIds: readonly string[] }
  | {
      readonly type: 'verified';
      readonly agentId: string;
      readonly backupId: string;
      readonly verdict: NonNullable<BackupSummary['verified']>;
    }
  | {
      readonly type: 'hold';
      readonly backupId: string;
      readonly held: boolean;
      readonly reason: string;
      readonly by: string;
      readonly at: number;
    }
  | { readonly type: 'token'; readonly token: TokenRecord }
  /** Fails with ENROLL_TOKEN_INVALID when another enrollment was faster. */
  | { readonly type: 'useToken'; readonly id: string; readonly at: number }
  | { readonly type: 'tokenSeen'; readonly id: string; readonly at: number }
  /** Fails with CONFLICT when it is the last living one of an administrator. */
  | { readonly type: 'revokeToken'; readonly id: string; readonly at: number }
  | { readonly type: 'incarnation'; readonly incarnation: string }
  /** Tries whether anything can be written. */
  | { readonly type: 'probe'; readonly at: number }
  | { readonly type: 'audit'; readonly entry: NewAuditEntry };

/**
 * All that the control plane remembers. Asynchronous throughout, so that what lies beneath can change; nothing outside of this
 * folder knows SQL. `commit` resolves when the changes are durable, and rejects with none of them made.
 */
export interface Catalog {
  commit(changes: readonly Change[]): Promise<void>;
  /** Why the newest change could not be written; null when it was. */
  failing(): Promise<Failure | null>;
  /** What the open connection itself says of how it writes (C1). */
  durability(): Promise<{ journalMode: unknown; synchronous: unknown; foreignKeys: unknown }>;
  incarnation(): Promise<string>;
  agents(): Promise<AgentRecord[]>;
  ledgers(): Promise<ControlLedger[]>;
  job(jobId: string): Promise<JobRecord | undefined>;
  jobByKey(createdBy: string, idempotencyKey: string): Promise<JobRecord | undefined>;
  jobs(scoped: Scoped, limit: number): Promise<JobRecord[]>;
  /** Jobs that ended before that moment and of which no backup is left, oldest first. */
  forgettableJobs(before: number, limit: number): Promise<{ jobId: string; agentId: string }[]>;
  targets(scope: Scoped): Promise<TargetRecord[]>;
  /** The ids of the backups that are held, however old they are. */
  holds(scope: Scoped): Promise<string[]>;
  /** Of each target the newest good backup, and the newest good one that is proven. */
  newestGood(scope: Scoped): Promise<NewestGood[]>;
  /** The same for each database that good backups of one target hold. */
  coverage(agentId: string, target: string): Promise<Coverage[]>;
  backup(backupId: string): Promise<BackupRecord | undefined>;
  backups(scoped: Scoped, limit: number): Promise<BackupRecord[]>;
  tokens(): Promise<TokenRecord[]>;
  tokenByHash(hash: string): Promise<TokenRecord | undefined>;
  audit(limit: number): Promise<AuditEntry[]>;
  close(): Promise<void>;
}
