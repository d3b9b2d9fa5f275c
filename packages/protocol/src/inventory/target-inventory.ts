import { z } from 'zod';
import { findingSchema } from '../findings/finding.ts';
import { nameSchema } from '../ids.ts';
import { recoveryWindowSchema, streamReportSchema } from './stream-report.ts';

export const targetInventorySchema = z.object({
  name: nameSchema,
  engine: z.string().min(1),
  labels: z.record(z.string(), z.string()),
  repository: nameSchema,
  state: z.enum(['ok', 'unreachable', 'refused']),
  version: z.string().nullable(),
  systemId: z.string().nullable(),
  sizeBytes: z.number().nullable(),
  databases: z.array(
    z.object({
      name: z.string(),
      sizeBytes: z.number(),
      /** The agent file excludes it from backups. */
      excluded: z.boolean().optional(),
    }),
  ),
  /** What restores and undos have set aside, until somebody drops it. Absent when the engine sets nothing aside. */
  setAside: z
    .array(
      z.object({
        name: z.string(),
        /** The database in whose place it was; null when that is not known. */
        of: z.string().nullable(),
        sizeBytes: z.number().nullable(),
        /** The restore that set it aside; null when that is not known. */
        restoreJobId: z.string().nullable(),
      }),
    )
    .optional(),
  /** The target is degraded when one has severity `error`. */
  findings: z.array(findingSchema),
  /** Absent when the target has no log stream. */
  stream: streamReportSchema.optional(),
  /** The ranges of instants between backups that can be restored, oldest first; absent without a log stream. */
  windows: z.array(recoveryWindowSchema).max(100).optional(),
});
export type TargetInventory = z.infer<typeof targetInventorySchema>;
