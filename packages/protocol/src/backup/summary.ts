import { z } from 'zod';
import { findingSchema } from '../findings/finding.ts';
import { nameSchema, uuidSchema } from '../ids.ts';
import { backupContentSchema } from './manifest.ts';

/**
 * Whether this version can restore a backup. `NEWER_FORMAT`: a newer version wrote it; `params` has the `part` (format, engine, method,
 * role, key ...) that is unknown and its `name`. `DEPENDENCY_MISSING`: it needs the backup `backupId`, which is not good or not there.
 * `UNSIGNED` and `UNKNOWN_KEY`: its manifest is not signed, or by the key `keyId` that the host does not trust.
 */
export const restorableSchema = z.discriminatedUnion('ok', [
  z.object({ ok: z.literal(true) }),
  z.object({
    ok: z.literal(false),
    reason: z.object({
      code: z.enum(['NEWER_FORMAT', 'DEPENDENCY_MISSING', 'UNSIGNED', 'UNKNOWN_KEY']),
      params: z.record(z.string(), z.string()),
    }),
  }),
]);
export type Restorable = z.infer<typeof restorableSchema>;

/** Why a backup must not be removed. `by` and `at` are null when the hold exists but cannot be read. */
export const holdSchema = z.object({
  reason: z.string(),
  by: z.string().nullable(),
  at: z.string().nullable(),
});
export type Hold = z.infer<typeof holdSchema>;

/** A target has at most so many repositories beside its first one. */
export const MAX_COPIES = 8;

/** The same backup in another repository of the target. */
export const backupCopySchema = z.object({
  repository: nameSchema,
  state: z.enum(['good', 'bad']),
  verified: z.object({ level: z.int(), at: z.string(), passed: z.boolean() }).nullable(),
});
export type BackupCopy = z.infer<typeof backupCopySchema>;

/** What the catalog keeps of a backup, as the agent's repository scan or a succeeded job reports it. */
export const backupSummarySchema = z.object({
  backupId: uuidSchema,
  target: nameSchema,
  /** The first repository of the target, in the order of the agent file, that holds it and in which it is not bad. */
  repository: nameSchema,
  /** The other repositories that hold it. */
  copies: z.array(backupCopySchema).max(MAX_COPIES).default([]),

  engine: z.string(),
  method: z.string(),
  sequence: z.int(),
  jobId: uuidSchema,
  startedAt: z.string(),
  /** The instant a restore brings back. */
  recoveryPoint: z.string(),
  finishedAt: z.string(),
  contents: z.array(backupContentSchema),
  dependsOn: z.array(uuidSchema),
  /** What a restore of it brings back: one database, or the whole server. */
  restoreUnit: z.enum(['database', 'server']),
  restorable: restorableSchema,
  producedBytes: z.number(),
  storedBytes: z.number(),
  manifestSha256: z.string(),
  state: z.enum(['good', 'suspect', 'bad', 'missing']),
  verified: z.object({ level: z.int(), at: z.string(), passed: z.boolean() }).nullable(),
  /** As its repository has it; null when it is not held. */
  hold: holdSchema.nullable(),
  warnings: z.array(findingSchema),
});
export type BackupSummary = z.infer<typeof backupSummarySchema>;
