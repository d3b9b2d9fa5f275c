import { isNotNull, isNull, sql } from 'drizzle-orm';
import { index, integer, primaryKey, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core';

const json = <T>(name: string) => text(name, { mode: 'json' }).$type<T>();

export const meta = sqliteTable('meta', { key: text('key').primaryKey(), value: text('value').notNull() });

export const agents = sqliteTable(
  'agents',
  {
    agentId: text('agent_id').primaryKey(),
    installId: text('install_id').notNull(),
    environment: text('environment').notNull(),
    host: text('host').notNull(),
    labels: json<Record<string, string>>('labels').notNull(),
    publicKey: text('public_key').notNull(),
    enrolledAt: integer('enrolled_at').notNull(),
    agentVersion: text('agent_version'),
    lastSeenAt: integer('last_seen_at'),
    quarantinedAt: integer('quarantined_at'),
  },
  (table) => [uniqueIndex('agents_name').on(table.environment, table.host)],
);

/** Counters of the delivery ledger of one agent; its jobs and commands are in tables of their own. */
export const ledgers = sqliteTable('ledgers', {
  agentId: text('agent_id').primaryKey(),
  mergedIncarnation: text('merged_incarnation'),
  completeSince: integer('complete_since'),
  epoch: integer('epoch').notNull(),
  commandSeq: integer('command_seq').notNull(),
  acked: integer('acked').notNull(),
});

export const jobs = sqliteTable(
  'jobs',
  {
    jobId: text('job_id').primaryKey(),
    agentId: text('agent_id').notNull(),
    target: text('target').notNull(),
    command: text('command').notNull(),
    state: text('state').notNull(),
    createdAt: integer('created_at').notNull(),
    createdBy: text('created_by').notNull(),
    idempotencyKey: text('idempotency_key'),
    /** Null while the job is open. Open jobs are also in memory, ended ones only here. */
    endedAt: integer('ended_at'),
    /** When the end was recorded here, by the clock of the control plane; `endedAt` is by the clock of the host. */
    endRecordedAt: integer('end_recorded_at'),
    /** The duration of a restore, or of a restore test that passed; null for all other jobs. */
    restoreMs: integer('restore_ms'),
    /** The database that was restored. */
    restoredDatabase: text('restored_database'),
    /** The backup that was restored, or passed a restore test. */
    restoredBackupId: text('restored_backup_id'),
    /** The job as the delivery ledger knows it. */
    job: json<unknown>('job').notNull(),
  },
  (table) => [
    index('jobs_agent').on(table.agentId, table.createdAt),
    index('jobs_created').on(table.createdAt),
    index('jobs_attempts').on(table.agentId, table.target, table.command, table.endedAt),
    index('jobs_open').on(table.agentId).where(isNull(table.endedAt)),
    index('jobs_ended').on(table.endRecordedAt),
    index('jobs_restores').on(table.agentId, table.target, table.endedAt).where(isNotNull(table.restoreMs)),
    uniqueIndex('jobs_idempotency').on(table.createdBy, table.idempotencyKey),
  ],
);

export const commands = sqliteTable(
  'commands',
  { agentId: text('agent_id').notNull(), seq: integer('seq').notNull(), command: json<unknown>('command').notNull() },
  (table) => [primaryKey({ columns: [table.agentId, table.seq] })],
);

export const targets = sqliteTable(
  'targets',
  {
    agentId: text('agent_id').notNull(),
    name: text('name').notNull(),
    inventory: json<unknown>('inventory').notNull(),
    seenAt: integer('seen_at').notNull(),
  },
  (table) => [primaryKey({ columns: [table.agentId, table.name] })],
);

/** When a target first reported each of the databases that it has. */
export const targetDatabases = sqliteTable(
  'target_databases',
  {
    agentId: text('agent_id').notNull(),
    target: text('target').notNull(),
    name: text('name').notNull(),
    firstSeenAt: integer('first_seen_at').notNull(),
  },
  (table) => [primaryKey({ columns: [table.agentId, table.target, table.name] })],
);

export const backups = sqliteTable(
  'backups',
  {
    backupId: text('backup_id').primaryKey(),
    agentId: text('agent_id').notNull(),
    target: text('target').notNull(),
    /** The job that took the backup. It is kept as long as the backup. */
    jobId: text('job_id').notNull(),
    sequence: integer('sequence').notNull(),
    state: text('state').notNull(),
    /** False: a newer version made it, or what it depends on is gone. */
    restorable: integer('restorable', { mode: 'boolean' }).notNull(),
    /** It was loaded into a server and passed. */
    restoreTested: integer('restore_tested', { mode: 'boolean' }).notNull(),
    /** Its repository has a hold of it. */
    held: integer('held', { mode: 'boolean' }).notNull(),
    summary: json<unknown>('summary').notNull(),
  },
  (table) => [
    index('backups_target').on(table.agentId, table.target, table.sequence),
    index('backups_job').on(table.jobId),
    index('backups_held').on(table.agentId, table.target).where(sql`${table.held} = 1`),
  ],
);

/** What each backup holds, one row per database. */
export const backupContents = sqliteTable(
  'backup_contents',
  {
    backupId: text('backup_id')
      .notNull()
      .references(() => backups.backupId, { onDelete: 'cascade' }),
    agentId: text('agent_id').notNull(),
    target: text('target').notNull(),
    kind: text('kind').notNull(),
    name: text('name').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.backupId, table.kind, table.name] }),
    index('backup_contents_name').on(table.agentId, table.target, table.kind, table.name),
  ],
);

export const tokens = sqliteTable(
  'tokens',
  {
    id: text('id').primaryKey(),
    /** SHA-256 of the token; the token itself is shown once and kept nowhere. */
    hash: text('hash').notNull(),
    name: text('name').notNull(),
    kind: text('kind', { enum: ['api', 'enroll'] }).notNull(),
    scope: text('scope', { enum: ['read', 'operate', 'destroy', 'admin'] }),
    environment: text('environment'),
    host: text('host'),
    createdAt: integer('created_at').notNull(),
    expiresAt: integer('expires_at'),
    lastUsedAt: integer('last_used_at'),
    revokedAt: integer('revoked_at'),
    usesLeft: integer('uses_left'),
  },
  (table) => [uniqueIndex('tokens_hash').on(table.hash)],
);

export const audit = sqliteTable('audit', {
  id: integer('id').primaryKey({ autoIncrement: true }),
  at: integer('at').notNull(),
  actor: text('actor').notNull(),
  action: text('action').notNull(),
  subject: text('subject').notNull(),
  detail: text('detail').notNull(),
});
