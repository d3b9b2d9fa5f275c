import { z } from 'zod';
import { backupSummarySchema } from '../backup/summary.ts';
import { findingSchema, refusalSchema, verificationFindingSchema } from '../findings/finding.ts';
import { rotationReasonSchema } from '../findings/rotation-reason.ts';

export const rotationDecisionSchema = z.object({
  backupId: z.string(),
  finishedAt: z.string(),
  keep: z.boolean(),
  reason: rotationReasonSchema,
});
export type RotationDecision = z.infer<typeof rotationDecisionSchema>;
/** What a restore will do; `hash` binds the consent of a person to exactly this. Lists are cut to stay below an event's size. */
export const restorePlanSchema = z.object({
  hash: z.string(),
  backupId: z.string(),
  mode: z.string(),
  snapshotAt: z.string(),
  database: z.string(),
  into: z.string(),
  confirm: z.string(),
  readBytes: z.number(),
  needBytes: z.number(),
  freeBytes: z.number().nullable(),
  sourceVersion: z.string(),
  serverVersion: z.string(),
  overwrites: z.array(z.string()),
  missingRoles: z.array(z.string()),
  missingExtensions: z.array(z.string()),
  warnings: z.array(findingSchema),
  refusals: z.array(refusalSchema),
});
export type RestorePlanSummary = z.infer<typeof restorePlanSchema>;

/** True: the result was larger than an event; the ends of its lists and long texts are missing, its counts are whole. */
const truncated = z.boolean().optional();
/** The result of each command when it succeeded, by `command`. */
export const jobResultSchema = z.discriminatedUnion('command', [
  z.object({ command: z.literal('backup'), backup: backupSummarySchema, durationMs: z.number(), truncated }),
  z.object({
    command: z.literal('verify'),
    backupId: z.string(),
    level: z.int(),
    reached: z.int(),
    passed: z.boolean(),
    findings: z.array(verificationFindingSchema),
    durationMs: z.number(),
    at: z.string(),
    truncated,
  }),
  z.object({
    command: z.literal('rotate'),
    dryRun: z.boolean(),
    decisions: z.array(rotationDecisionSchema),
    keptCount: z.int(),
    removedCount: z.int(),
    freedBytes: z.number(),
    /** For how long what was removed can be brought back. */
    graceHours: z.number().optional(),
    truncated,
  }),
  z.object({ command: z.literal('plan'), plan: restorePlanSchema, truncated }),
  z.object({
    command: z.literal('restore'),
    backupId: z.string(),
    database: z.string(),
    into: z.string(),
    oldKeptAs: z.string().nullable(),
    warnings: z.array(findingSchema),
    tables: z.int(),
    rows: z.number(),
    durationMs: z.number(),
    truncated,
  }),
  z.object({
    command: z.literal('undo'),
    database: z.string(),
    setAsideAs: z.string(),
    durationMs: z.number(),
    truncated,
  }),
]);
export type JobResult = z.infer<typeof jobResultSchema>;
