import { z } from 'zod';
import { nameSchema, uuidSchema } from '../ids.ts';
import { jobSpecSchema } from '../jobs/spec.ts';
import { scopeSchema } from './scope.ts';

/** A target as people name it: `target`, `host/target` or `environment/host/target`; refused when ambiguous. */
export const targetSelectorSchema = z
  .string()
  .min(1)
  .max(200)
  .regex(/^[a-z0-9_/-]+$/, 'use target, host/target or environment/host/target');

export const createJobInputSchema = z.object({
  target: targetSelectorSchema,
  spec: jobSpecSchema,
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
  hold: z.object({ backupId: uuidSchema, held: z.boolean(), reason: z.string().max(500).default('') }),
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
  revokeToken: z.object({ id: uuidSchema }),
  audit: page,
  none: z.object({}).default({}),
} as const;
