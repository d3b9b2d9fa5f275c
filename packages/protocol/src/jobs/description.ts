import { z } from 'zod';
import { uuidSchema } from '../ids.ts';
import { jobOriginSchema } from './origin.ts';
import { jobSpecSchema } from './spec.ts';

/** What a job is, beside its history. */
export const jobDescriptionSchema = z.object({
  jobId: uuidSchema,
  spec: jobSpecSchema,
  origin: jobOriginSchema,
  /** By the clock of the side that created it. */
  createdAt: z.number(),
  startBy: z.number(),
  deadlineMs: z.number().positive(),
});
export type JobDescription = z.infer<typeof jobDescriptionSchema>;
