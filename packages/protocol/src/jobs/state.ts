import { z } from 'zod';

export const jobStateSchema = z.enum([
  'queued',
  'dispatched',
  'accepted',
  'running',
  'lost',
  'succeeded',
  'failed',
  'canceled',
  'expired',
  'rejected',
]);
export type JobState = z.infer<typeof jobStateSchema>;
