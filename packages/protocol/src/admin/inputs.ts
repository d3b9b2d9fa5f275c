import { z } from 'zod';
import { nameSchema, sha256Schema, uuidSchema } from '../ids.ts';
import { isHostJob, jobSpecSchema } from '../jobs/spec.ts';
import { occurrenceStateSchema } from './fleet-views.ts';
import { runbookModeSchema, stepDecisionSchema } from './runbook-views.ts';
import { scopeSchema } from './scope.ts';

/** A target as people name it: `target`, `host/target` or `environment/host/target`; refused when ambiguous. */
export const targetSelectorSchema = z
  .string()
  .min(1)
  .max(200)
  .regex(/^[a-z0-9_/-]+$/, 'use target, host/target or environment/host/target');

export const createJobInputSchema = z.object({
  target: targetSelectorSchema,
  spec: jobSpecSchema.refine((spec) => !isHostJob(spec), 'checks and hooks run as steps of runbooks'),
  idempotencyKey: z.string().min(8).max(128),
  startByMs: z
    .int()
    .min(1000)
    .max(30 * 86_400_000)
    .default(3_600_000),
  deadlineMs: z
    .int()
    .min(1000)
    .max(14 * 86_400_000)
    .default(86_400_000),
});
const page = z.object({ limit: z.int().min(1).max(1000).default(100) });
/** The last instant of the year 9999. */
const MAX_INSTANT_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999);
const MAX_AGE_MS = 100 * 366 * 86_400_000;
const instantMs = z.int().min(0).max(MAX_INSTANT_MS);
/** Which backup of a target: the newest, the newest at or before an instant, or one by the beginning or end of its id. */
const wantedBackupSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('latest') }),
  z.object({ type: z.literal('at'), atMs: instantMs }),
  z.object({ type: z.literal('id'), part: z.string().min(4).max(64) }),
]);
const maybeTarget = z.object({ target: targetSelectorSchema.optional() });
const tokenName = z
  .string()
  .min(1)
  .max(100)
  .regex(/^[\p{L}\p{N} ._@-]+$/u);
const runbookPlanInput = z.object({
  runbook: nameSchema,
  mode: runbookModeSchema,
  /** One instant for all targets; null for the newest of each. */
  atMs: instantMs.nullable().default(null),
  /** The steps that begin with their alternative. */
  alternatives: z.array(nameSchema).max(100).default([]),
});
/** A fleet file, and its name for messages. */
const fleetText = z.object({ text: z.string().max(200_000), file: z.string().min(1).max(500) });
export const inputs = {
  targets: maybeTarget,
  status: maybeTarget.extend({
    /** The largest exposure that the caller accepts. */
    maxAgeMs: z.int().min(1).max(MAX_AGE_MS).optional(),
  }),
  backups: maybeTarget.extend(page.shape).extend({
    /** Only those with a recovery point at or before this instant. */
    atMs: instantMs.optional(),
  }),
  backup: z.object({ backupId: uuidSchema }),
  selectBackup: z.object({
    target: targetSelectorSchema,
    wanted: wantedBackupSchema,
    purpose: z.enum(['verify', 'restore']),
    /** Only backups that hold it. */
    content: z.string().min(1).max(255).nullable(),
    /** What a restore is to bring back. Where there are backups that do, others are passed over. */
    prefer: z.enum(['database', 'server']).nullable().optional(),
  }),
  jobs: maybeTarget.extend(page.shape),
  job: z.object({ jobId: uuidSchema }),
  setAside: maybeTarget,
  createToken: z.object({
    name: tokenName,
    scope: scopeSchema,
    expiresInHours: z
      .number()
      .positive()
      .max(24 * 3660)
      .nullable(),
  }),
  createEnrollToken: z.object({
    environment: nameSchema,
    host: nameSchema,
    expiresInHours: z.number().positive().max(24).default(1),
    /** Consent to replace the agent of a host that is enrolled. */
    replace: z.boolean().default(false),
  }),
  createSignInCode: z.object({
    expiresInMinutes: z
      .int()
      .min(1)
      .max(24 * 60)
      .default(10),
  }),
  watch: z.object({ jobId: uuidSchema.optional() }),
  revokeToken: z.object({ id: uuidSchema }),
  audit: page,
  fleetDiff: fleetText,
  applyFleet: fleetText.extend({
    /** Consent to what the difference loses: shorter retention, less protection, silenced alerts. */
    acceptLoss: z.boolean().default(false),
  }),
  occurrences: maybeTarget.extend(page.shape).extend({
    states: z.array(occurrenceStateSchema).min(1).optional(),
    fromMs: z.int().min(0).max(MAX_INSTANT_MS).optional(),
    untilMs: z.int().min(0).max(MAX_INSTANT_MS).optional(),
  }),
  alerts: page.extend({
    /** Also those that are resolved. */
    all: z.boolean().default(false),
  }),
  acknowledgeAlert: z.object({ alertId: uuidSchema, note: z.string().max(500).nullable().default(null) }),
  planRunbook: runbookPlanInput,
  startRunbook: runbookPlanInput.extend({
    planHash: sha256Schema,
    /** Consent to a real run: the name of the runbook. */
    confirm: z.string().max(100).nullable().default(null),
    /** The targets whose lag behind the newest recovery point is accepted. */
    acceptedSkew: z.array(z.string().max(200)).max(256).default([]),
    /** The steps whose approval is given with the start. */
    approved: z.array(nameSchema).max(100).default([]),
    idempotencyKey: z.string().min(8).max(128),
  }),
  runbookRuns: page.extend({ runbook: nameSchema.optional() }),
  runbookRun: z.object({ runId: uuidSchema }),
  resumeRunbook: z.object({ runId: uuidSchema, decision: stepDecisionSchema }),
  evidence: page,
  evidenceReport: z.object({ sequence: z.int().min(1) }),
  abortRunbook: z.object({ runId: uuidSchema, reason: z.string().min(1).max(500) }),
  none: z.object({}).default({}),
} as const;
