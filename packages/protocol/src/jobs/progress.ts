import { z } from 'zod';
import { uuidSchema } from '../ids.ts';
import { attemptSchema } from './counters.ts';

export const progressSchema = z.object({
  jobId: uuidSchema,
  attempt: attemptSchema,
  phase: z.string().max(64),
  doneBytes: z.number(),
  totalBytes: z.number().nullable(),
  bytesPerSecond: z.number(),
  at: z.number(),
});
export type Progress = z.infer<typeof progressSchema>;
