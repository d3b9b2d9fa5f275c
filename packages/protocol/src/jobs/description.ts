import { z } from 'zod';
import { uuidSchema } from '../ids.ts';
import { deadlineMsSchema, epochMsSchema } from '../instants.ts';
import { jobOriginSchema } from './origin.ts';
import { jobSpecSchema } from './spec.ts';

/** What a job is, beside its history. */
export const jobDescriptionSchema = z.object({
  jobId: uuidSchema,
  spec: jobSpecSchema,
  origin: jobOriginSchema,
  /** By the clock of the side that created it. */
  createdAt: epochMsSchema,
  startBy: epochMsSchema,
  deadlineMs: deadlineMsSchema,
});
export type JobDescription = z.infer<typeof jobDescriptionSchema>;
