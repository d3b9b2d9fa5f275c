import { OCCURRENCE_STATES } from '@lastgood/core/schedules';
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
    signingKey: text('signing_key'),
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
  /** The schedules that the agent is to hold; null before the first fleet file. */
  schedules: json<unknown>('schedules'),
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
    index('backup_contents_name').on(table.agentId, table.target, table.name, table.backupId),
  ],
);

/** Sign-ins of people in a browser. Only the hash of the secret in the cookie is kept. */
export const browserSessions = sqliteTable('browser_sessions', {
  hash: text('hash').primaryKey(),
  tokenId: text('token_id').notNull(),
  createdAt: integer('created_at').notNull(),
  expiresAt: integer('expires_at').notNull(),
});

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

/** Every fleet file that was applied; the newest is in force. */
export const fleetFiles = sqliteTable('fleet_files', {
  revision: integer('revision').primaryKey({ autoIncrement: true }),
  /** The content as the file writes it. */
  content: json<unknown>('content').notNull(),
  appliedAt: integer('applied_at').notNull(),
  appliedBy: text('applied_by').notNull(),
});

/** The schedules that agents are to hold. Those that were removed stay, because their occurrences count. */
export const schedules = sqliteTable(
  'schedules',
  {
    scheduleId: text('schedule_id').primaryKey(),
    agentId: text('agent_id').notNull(),
    target: text('target').notNull(),
    name: text('name').notNull(),
    entry: json<unknown>('entry').notNull(),
    /** Up to when its occurrences exist. */
    plannedUntil: integer('planned_until').notNull(),
    removedAt: integer('removed_at'),
  },
  (table) => [
    index('schedules_agent').on(table.agentId),
    index('schedules_planned').on(table.plannedUntil).where(isNull(table.removedAt)),
  ],
);

/** The due runs of schedules. Each exists before it runs; its id is that of its job. */
export const occurrences = sqliteTable(
  'occurrences',
  {
    occurrenceId: text('occurrence_id').primaryKey(),
    scheduleId: text('schedule_id').notNull(),
    agentId: text('agent_id').notNull(),
    target: text('target').notNull(),
    name: text('name').notNull(),
    command: text('command').notNull(),
    dueAt: integer('due_at').notNull(),
    windowMs: integer('window_ms').notNull(),
    state: text('state', { enum: OCCURRENCE_STATES }).notNull(),
    /** The error code of one that failed or was skipped. */
    code: text('code'),
  },
  (table) => [
    index('occurrences_due').on(table.dueAt),
    index('occurrences_schedule').on(table.scheduleId, table.dueAt),
    index('occurrences_target').on(table.agentId, table.target, table.dueAt),
    index('occurrences_expected').on(table.dueAt).where(sql`state = 'expected'`),
  ],
);

/** What the planner computed last for each target that has a policy. */
export const targetStatuses = sqliteTable(
  'target_statuses',
  {
    agentId: text('agent_id').notNull(),
    target: text('target').notNull(),
    state: text('state').notNull(),
    status: json<unknown>('status').notNull(),
    computedAt: integer('computed_at').notNull(),
  },
  (table) => [primaryKey({ columns: [table.agentId, table.target] })],
);

export const alerts = sqliteTable(
  'alerts',
  {
    alertId: text('alert_id').primaryKey(),
    code: text('code').notNull(),
    state: text('state').notNull(),
    openedAt: integer('opened_at').notNull(),
    resolvedAt: integer('resolved_at'),
    alert: json<unknown>('alert').notNull(),
  },
  (table) => [
    index('alerts_open').on(table.alertId).where(isNull(table.resolvedAt)),
    index('alerts_opened').on(table.openedAt),
  ],
);

/** What each contact was last notified of in one environment. */
export const notificationGroups = sqliteTable(
  'notification_groups',
  {
    /** Empty for alerts of the control plane. */
    environment: text('environment').notNull(),
    contact: text('contact').notNull(),
    content: json<unknown>('content').notNull(),
  },
  (table) => [primaryKey({ columns: [table.environment, table.contact] })],
);

/** Copies of messages, one per destination, until they are delivered or given up, and some time after. */
export const notifications = sqliteTable(
  'notifications',
  {
    entryId: text('entry_id').primaryKey(),
    contact: text('contact').notNull(),
    entry: json<unknown>('entry').notNull(),
    createdAt: integer('created_at').notNull(),
    state: text('state', { enum: ['waiting', 'sent', 'given_up'] }).notNull(),
    tries: integer('tries').notNull(),
    /** Null when it is not tried again. */
    nextTryAt: integer('next_try_at'),
    cause: text('cause'),
    endedAt: integer('ended_at'),
  },
  (table) => [
    index('notifications_waiting').on(table.nextTryAt).where(sql`state = 'waiting'`),
    index('notifications_ended').on(table.endedAt),
  ],
);

/** The names of checks and hooks that agents have reported. */
export const hostCommands = sqliteTable('host_commands', {
  agentId: text('agent_id').primaryKey(),
  checks: json<string[]>('checks').notNull(),
  hooks: json<string[]>('hooks').notNull(),
});

/** Runs and drills of runbooks, each with its plan and the state of its steps. */
export const runbookRuns = sqliteTable(
  'runbook_runs',
  {
    runId: text('run_id').primaryKey(),
    runbook: text('runbook').notNull(),
    mode: text('mode', { enum: ['run', 'drill'] }).notNull(),
    state: text('state').notNull(),
    startedAt: integer('started_at').notNull(),
    endedAt: integer('ended_at'),
    run: json<unknown>('run').notNull(),
  },
  (table) => [
    index('runbook_runs_started').on(table.runbook, table.startedAt),
    index('runbook_runs_open').on(table.runId).where(isNull(table.endedAt)),
  ],
);

/** Reports of runs and drills that have ended, each with the hash of the one before it. */
export const evidence = sqliteTable('evidence', {
  sequence: integer('sequence').primaryKey(),
  runId: text('run_id').notNull().unique(),
  runbook: text('runbook').notNull(),
  mode: text('mode', { enum: ['run', 'drill'] }).notNull(),
  state: text('state').notNull(),
  endedAt: integer('ended_at').notNull(),
  sha256: text('sha256').notNull(),
  /** The exact text that is hashed and signed. */
  text: text('text').notNull(),
  signature: text('signature').notNull(),
  publicKey: text('public_key').notNull(),
});
