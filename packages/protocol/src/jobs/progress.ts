import { z } from 'zod';
import { uuidSchema } from '../ids.ts';
import { attemptSchema } from './counters.ts';

/** What a job does at the moment. */
export const progressPhaseSchema = z.enum([
  'snapshot',
  'dump',
  'read-back',
  'fingerprint',
  'globals',
  'reread',
  'decode',
  'read',
  'restore',
  'replay',
  'views',
  'check',
  'compare',
  'copy',
]);
export type ProgressPhase = z.infer<typeof progressPhaseSchema>;

export const progressSchema = z.object({
  jobId: uuidSchema,
  attempt: attemptSchema,
  /** A phase of a newer agent is kept as it is. */
  phase: progressPhaseSchema.or(z.string().max(64)),
  /** The rate counts anew with each phase: that of another says nothing. */
  doneBytes: z.number(),
  totalBytes: z.number().nullable(),
  /** Done and all of what a phase counts beside bytes, such as tables. */
  doneItems: z.int().optional(),
  totalItems: z.int().optional(),
  bytesPerSecond: z.number(),
  at: z.number(),
});
export type Progress = z.infer<typeof progressSchema>;
