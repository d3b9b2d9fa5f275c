import { z } from 'zod';
import { findingSchema } from '../findings/finding.ts';
import { nameSchema, uuidSchema } from '../ids.ts';

/** Short facts of a backup as the agent's repository scan or a succeeded job tells them. */
export const backupSummarySchema = z.object({
  backupId: uuidSchema,
  target: nameSchema,
  repository: nameSchema,
  engine: z.string(),
  kind: z.string(),
  sequence: z.int(),
  jobId: uuidSchema,
  startedAt: z.string(),
  snapshotAt: z.string(),
  finishedAt: z.string(),
  databases: z.array(z.string()),
  producedBytes: z.number(),
  storedBytes: z.number(),
  manifestSha256: z.string(),
  state: z.enum(['good', 'suspect', 'bad', 'missing']),
  verified: z.object({ level: z.int(), at: z.string(), passed: z.boolean() }).nullable(),
  warnings: z.array(findingSchema),
});
export type BackupSummary = z.infer<typeof backupSummarySchema>;
