import { z } from 'zod';
import { wireErrorSchema } from '../errors.ts';
import { uuidSchema } from '../ids.ts';
import { epochMsSchema } from '../instants.ts';
import { attemptSchema, eventIdSchema } from './counters.ts';

export const eventTypeSchema = z.enum([
  'accepted',
  'rejected',
  'running',
  'succeeded',
  'failed',
  'canceled',
  'expired',
  'interrupted',
]);
export type EventType = z.infer<typeof eventTypeSchema>;

export const jobEventSchema = z.object({
  id: eventIdSchema,
  previousEventId: eventIdSchema.nullable(),
  jobId: uuidSchema,
  attempt: attemptSchema,
  eventNumber: z.int().min(1),
  type: eventTypeSchema,
  at: epochMsSchema,
  error: wireErrorSchema.nullable(),
  /** The result of a succeeded job (see job-result.ts); bounded by LIMITS.eventBytes and LIMITS.largeEventBytes. */
  result: z.json().nullable(),
});
export type JobEvent = z.infer<typeof jobEventSchema>;
