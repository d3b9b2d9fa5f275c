import { z } from 'zod';
import { backupSummarySchema, holdSchema, MAX_COPIES } from '../backup/summary.ts';
import { wireErrorSchema } from '../errors.ts';
import { findingSchema, refusalSchema, subjectKindSchema, verificationFindingSchema } from '../findings/finding.ts';
import { rotationReasonSchema } from '../findings/rotation-reason.ts';
import { instantSchema, nameSchema } from '../ids.ts';
import { restoreRequestSchema, restoreScopeSchema } from './restore-request.ts';

export const rotationDecisionSchema = z.object({
  backupId: z.string(),
  finishedAt: z.string(),
  keep: z.boolean(),
  reason: rotationReasonSchema,
});
export type RotationDecision = z.infer<typeof rotationDecisionSchema>;
/** A row of a plan or result that only the engine understands. `unit` says how the value is shown. */
export const detailSchema = z.object({
  label: z.string().min(1).max(64),
  value: z.union([z.string().max(1024), z.number()]),
  unit: z.enum(['text', 'count', 'bytes', 'milliseconds', 'instant']),
});
export type Detail = z.infer<typeof detailSchema>;

/** What the destination of a restore lacks. */
export const missingPartSchema = z.object({ kind: subjectKindSchema, name: z.string() });

/** What a restore will do; `hash` binds the consent of a person to exactly this. Lists are cut to stay below an event's size. */
export const restorePlanSchema = z.object({
  hash: z.string(),
  request: restoreRequestSchema,
  /** The backup that is read first; others are named by the manifest. */
  backupId: z.string(),
  method: z.string(),
  /** The instant that the restore will reach. */
  recoveryPoint: z.string(),
  /** The name of what will hold the restored data. */
  into: z.string(),
  /** What a person types to consent. */
  confirm: z.string(),
  /** The names of what is overwritten or set aside. */
  replaces: z.array(z.string()),
  missing: z.array(missingPartSchema),
  readBytes: z.number(),
  needBytes: z.number(),
  /** Null when it is not known. */
  freeBytes: z.number().nullable(),
  /** From measured speeds; null without a measurement. */
  estimatedMs: z.number().nullable(),
  details: z.array(detailSchema),
  warnings: z.array(findingSchema),
  refusals: z.array(refusalSchema),
});
export type RestorePlanSummary = z.infer<typeof restorePlanSchema>;

const copyRotationSchema = z.object({
  repository: nameSchema,
  removedCount: z.int(),
  freedBytes: z.number(),
  locked: z.object({ count: z.int().min(1), until: instantSchema }).optional(),
  /** Why nothing was removed there. */
  error: wireErrorSchema.optional(),
});
export type CopyRotation = z.infer<typeof copyRotationSchema>;

/** Something inside a backup that has a name, such as a table. */
export const contentItemSchema = z.object({
  /** The database or other content that it belongs to. */
  content: z.string(),
  kind: z.string().min(1).max(32),
  name: z.string(),
  /** How many rows or entries it had; null when it has none or they were not counted. */
  rows: z.number().nullable(),
});
export type ContentItem = z.infer<typeof contentItemSchema>;

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
    /** What the result covers and what it does not, such as the version of the scratch server. */
    remarks: z.array(findingSchema),
    durationMs: z.number(),
    at: z.string(),
    /** The repository whose copy was verified; absent for the first one of the target. */
    repository: nameSchema.optional(),
    truncated,
  }),
  z.object({
    command: z.literal('rotate'),
    dryRun: z.boolean(),
    decisions: z.array(rotationDecisionSchema),
    keptCount: z.int(),
    removedCount: z.int(),
    freedBytes: z.number(),
    /** How many removed backups stay because their store has locked them, and when the first of these locks ends. */
    locked: z.object({ count: z.int().min(1), until: instantSchema }).optional(),
    /** What the same rules have removed from the other repositories of the target. */
    copies: z.array(copyRotationSchema).max(MAX_COPIES).optional(),
    /** For how long what was removed can be brought back. */
    graceHours: z.number().optional(),
    truncated,
  }),
  z.object({ command: z.literal('plan'), plan: restorePlanSchema, truncated }),
  z.object({
    command: z.literal('restore'),
    backupId: z.string(),
    scope: restoreScopeSchema,
    /** The instant that was reached. */
    recoveryPoint: z.string(),
    /** The name of what holds the restored data now. */
    into: z.string(),
    /** The name under which the old data is kept for undo. */
    setAsideAs: z.string().nullable(),
    warnings: z.array(findingSchema),
    /** What was counted in the restored data, and is equal to the backup. */
    counts: z.array(detailSchema),
    durationMs: z.number(),
    truncated,
  }),
  /** Rows about what an undo takes away, such as what was written since the restore; empty where the engine does not count it. */
  z.object({ command: z.literal('plan-undo'), details: z.array(detailSchema), truncated }),
  z.object({
    command: z.literal('undo'),
    /** The name of what is in place again. */
    into: z.string(),
    /** The name under which the restored data is kept. */
    setAsideAs: z.string().nullable(),
    durationMs: z.number(),
    truncated,
  }),
  /** The hold that stands; the first one of a backup stays. */
  z.object({ command: z.literal('hold'), backupId: z.string(), hold: holdSchema, truncated }),
  /** `wasHeld`: false when there was no hold to end. */
  z.object({ command: z.literal('release'), backupId: z.string(), wasHeld: z.boolean(), truncated }),
  z.object({
    command: z.literal('copy'),
    copies: z.array(
      z.object({
        repository: nameSchema,
        /** The backups that were copied. */
        copied: z.array(z.string()),
        /** How many were there already. */
        presentCount: z.int(),
        segmentCount: z.int(),
        copiedBytes: z.number(),
      }),
    ),
    durationMs: z.number(),
    truncated,
  }),
  z.object({
    command: z.literal('drop-set-aside'),
    name: z.string(),
    /** Null when its size is not known. */
    freedBytes: z.number().nullable(),
    durationMs: z.number(),
    truncated,
  }),
  z.object({
    command: z.literal('list-contents'),
    /** Newest first; without those that contain nothing of the name. `count` counts also the items that are not listed. */
    backups: z.array(
      z.object({
        backupId: z.string(),
        recoveryPoint: z.string(),
        items: z.array(contentItemSchema),
        count: z.int(),
      }),
    ),
    /** How many backups could not be listed: they cannot be read, or their kind has no list. */
    unread: z.int(),
    durationMs: z.number(),
    truncated,
  }),
  z.object({
    command: z.literal('check'),
    /** What the check is, such as `http`. */
    kind: z.string().min(1).max(32),
    passed: z.boolean(),
    /** Why it has not passed. */
    findings: z.array(findingSchema).max(20),
    /** What it has found, such as a count. */
    details: z.array(detailSchema).max(20),
    /** How often it was tried until it passed or its time was over. */
    tries: z.int().min(1),
    durationMs: z.number(),
    truncated,
  }),
  z.object({ command: z.literal('hook'), durationMs: z.number(), truncated }),
]);
export type JobResult = z.infer<typeof jobResultSchema>;
