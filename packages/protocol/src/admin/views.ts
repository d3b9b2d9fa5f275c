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

export const hostViewSchema = z.object({
  agentId: uuidSchema,
  environment: nameSchema,
  host: nameSchema,
  labels: z.record(z.string(), z.string()),
  state: z.enum(['online', 'offline', 'never']),
  since: z.number(),
  agentVersion: z.string().nullable(),
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
  lastProven: backupSummarySchema.nullable(),
});
export type TargetView = z.infer<typeof targetViewSchema>;
/** The question of the product, for one database: to when could it go back, how long would it take, when was that last proven. */
export const databaseStatusSchema = z.object({
  database: z.string(),
  /** Null when the server does not say. */
  onServer: z.boolean().nullable(),
  /** The newest good backup that holds it. */
  goesBackTo: z.object({ backupId: uuidSchema, recoveryPoint: z.string() }).nullable(),
  /** The newest good backup of it that was loaded into a server (level 4 and above), and when. */
  proven: z.object({ backupId: uuidSchema, recoveryPoint: z.string(), at: z.string(), level: z.int() }).nullable(),
  /** How long its last restore took, or the proof of that backup, whichever was later. */
  restoreMs: z.number().nullable(),
});
export type DatabaseStatus = z.infer<typeof databaseStatusSchema>;
/** One target with every database that its server or only its backups know of, or a host that has none. */
export const targetStatusSchema = z.object({
  environment: nameSchema,
  host: nameSchema,
  hostState: hostViewSchema.shape.state,
  /** Null, as the state, when the host has told of no target. */
  target: nameSchema.nullable(),
  online: z.boolean(),
  state: targetInventorySchema.shape.state.nullable(),
  findings: z.array(findingSchema),
  /** Why it is not in order, its databases aside; empty when it is. */
  problems: z.array(findingSchema),
  databases: z.array(databaseStatusSchema),
  /** Null before the first fleet file, and for a host without targets. */
  objectives: objectivesViewSchema.nullable(),
});
export type TargetStatus = z.infer<typeof targetStatusSchema>;
export const backupViewSchema = backupSummarySchema.extend({
  environment: nameSchema,
  host: nameSchema,
  held: z.boolean(),
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
  /** All the time that the job had is over, its host is not there to say what became of it: nobody need wait. */
  overdue: z.boolean(),
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
