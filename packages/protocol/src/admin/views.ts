import { z } from 'zod';
import { backupSummarySchema } from '../backup/summary.ts';
import { wireErrorSchema } from '../errors.ts';
import { findingSchema } from '../findings/finding.ts';
import { nameSchema, uuidSchema } from '../ids.ts';
import { targetInventorySchema } from '../inventory/target-inventory.ts';
import { progressSchema } from '../jobs/progress.ts';
import { jobResultSchema } from '../jobs/result.ts';
import { jobSpecSchema } from '../jobs/spec.ts';
import { jobStateSchema } from '../jobs/state.ts';
import { objectivesViewSchema } from './fleet-views.ts';
import { scopeSchema } from './scope.ts';
import { TARGET_STATES } from './states.ts';

export const hostViewSchema = z.object({
  agentId: uuidSchema,
  environment: nameSchema,
  host: nameSchema,
  labels: z.record(z.string(), z.string()),
  state: z.enum(['online', 'offline', 'never', 'quarantined']),
  since: z.number(),
  agentVersion: z.string().nullable(),
  /** The public key that the host signs its backups with; null before its first connection. */
  signingKey: z.string().nullable(),
  clockSkewMs: z.number().nullable(),
  outboxDepth: z.int(),
  targets: z.array(z.string()),
});
export type HostView = z.infer<typeof hostViewSchema>;
export const targetViewSchema = targetInventorySchema.extend({
  environment: nameSchema,
  host: nameSchema,
  online: z.boolean(),
  lastGood: backupSummarySchema.nullable(),
  /** The newest good backup that was loaded into a server and passed. */
  lastTested: backupSummarySchema.nullable(),
});
export type TargetView = z.infer<typeof targetViewSchema>;
export const protectionStateSchema = z.enum(TARGET_STATES);
export const restoreTimeSchema = z.discriminatedUnion('basis', [
  z.object({ basis: z.literal('measured'), ms: z.number(), at: z.string() }),
  /** From the size of the database and the speed of other restores. */
  z.object({ basis: z.literal('estimated'), ms: z.number() }),
  z.object({ basis: z.literal('unknown') }),
]);
/** To when one database can be restored, how long that takes, and when it was last tested. */
export const databaseStatusSchema = z.object({
  database: z.string(),
  /** Null when the agent file excludes the database from backups. */
  state: protectionStateSchema.nullable(),
  /** Why it is in this state, worst first; the reasons of its target are not repeated. */
  reasons: z.array(findingSchema),
  /** Null when the server does not answer, or its list was truncated. */
  onServer: z.boolean().nullable(),
  /** The restore that made it beside another database (`--to-new`); null for any other database. */
  copy: z.object({ jobId: uuidSchema, of: z.string() }).nullable(),
  /** The newest good backup that contains it. */
  recoveryPoint: z.object({ backupId: uuidSchema, at: z.string() }).nullable(),
  /** The repositories in which the backup of the recovery point is good. */
  goodCopies: z.array(nameSchema),
  exposureMs: z.number().nullable(),
  restoreTime: restoreTimeSchema,
  /** The newest good backup of it that was loaded into a server (level 4 and above), and when. */
  restoreTest: z
    .object({
      backupId: uuidSchema,
      at: z.string(),
      level: z.int(),
      /** False: the test was of an older backup than the recovery point. */
      ofRecoveryPoint: z.boolean(),
    })
    .nullable(),
});
export type DatabaseStatus = z.infer<typeof databaseStatusSchema>;
/** One target with every database that its server or only its backups know, or a host that has none. */
export const targetStatusSchema = z.object({
  environment: nameSchema,
  host: nameSchema,
  hostState: hostViewSchema.shape.state,
  /** Null when the host has reported no target. */
  target: nameSchema.nullable(),
  /** The worst of its own reasons and of its databases. */
  state: protectionStateSchema,
  serverState: targetInventorySchema.shape.state.nullable(),
  /** Why the target as a whole is in its state, worst first. */
  reasons: z.array(findingSchema),
  /** What its agent has reported beside that. */
  findings: z.array(findingSchema),
  databases: z.array(databaseStatusSchema),
  /** Null before the first fleet file, and for a host without targets. */
  objectives: objectivesViewSchema.nullable(),
});
export type TargetStatus = z.infer<typeof targetStatusSchema>;
/** What a restore or an undo has set aside on a target. */
export const setAsideViewSchema = z.object({
  environment: nameSchema,
  host: nameSchema,
  target: nameSchema,
  name: z.string(),
  of: z.string().nullable(),
  sizeBytes: z.number().nullable(),
  restoreJobId: z.string().nullable(),
  /** When that restore ended; null when the catalog does not know it. */
  at: z.string().nullable(),
});
export type SetAsideView = z.infer<typeof setAsideViewSchema>;
export const backupViewSchema = backupSummarySchema.extend({
  environment: nameSchema,
  host: nameSchema,
  /** `pending`: the agent has not yet reported the hold. `releasing`: it has not yet reported the release. */
  holdState: z.enum(['none', 'pending', 'held', 'releasing']),
});
export type BackupView = z.infer<typeof backupViewSchema>;
export const selectedBackupSchema = z.object({
  backup: backupViewSchema,
  /** The newest backup in question, when it was passed over because it is not good. */
  passedOver: backupViewSchema.nullable(),
});
export type SelectedBackup = z.infer<typeof selectedBackupSchema>;
export const jobViewSchema = z.object({
  jobId: uuidSchema,
  environment: nameSchema,
  host: nameSchema,
  target: nameSchema,
  command: z.string(),
  spec: jobSpecSchema,
  state: jobStateSchema,
  attempt: z.int(),
  createdAt: z.number(),
  startedAt: z.number().nullable(),
  endedAt: z.number().nullable(),
  createdBy: z.string(),
  startBy: z.number(),
  cancelRequested: z.boolean(),
  deadlineMs: z.number(),
  hostOnline: z.boolean(),
  /** When the host last came or went; null when it never came. */
  hostSeenAt: z.number().nullable(),
  /** The job's time is over, and its host is not connected to report it: do not wait for it. */
  overdue: z.boolean(),
  /** The jobs of its host that it waits for; empty when it waits for none, or has started. */
  waitingFor: z.array(z.object({ jobId: uuidSchema, command: z.string(), target: nameSchema })),
  progress: progressSchema.nullable(),
  error: wireErrorSchema.nullable(),
  result: jobResultSchema.nullable(),
});
export type JobView = z.infer<typeof jobViewSchema>;
export const tokenViewSchema = z.object({
  id: uuidSchema,
  name: z.string(),
  kind: z.enum(['api', 'enroll']),
  scope: scopeSchema.nullable(),
  environment: z.string().nullable(),
  host: z.string().nullable(),
  createdAt: z.number(),
  expiresAt: z.number().nullable(),
  lastUsedAt: z.number().nullable(),
  revokedAt: z.number().nullable(),
  usesLeft: z.int().nullable(),
});
export type TokenView = z.infer<typeof tokenViewSchema>;
export const auditEntrySchema = z.object({
  id: z.int(),
  at: z.number(),
  actor: z.string(),
  action: z.string(),
  subject: z.string(),
  detail: z.string(),
});
export type AuditEntry = z.infer<typeof auditEntrySchema>;
