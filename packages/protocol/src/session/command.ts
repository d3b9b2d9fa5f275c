import { z } from 'zod';
import { uuidSchema } from '../ids.ts';
import { attemptSchema, sequenceSchema } from '../jobs/counters.ts';
import { jobSpecSchema } from '../jobs/spec.ts';

export const agentCommandSchema = z.discriminatedUnion('type', [
  z.object({
    seq: sequenceSchema,
    type: z.literal('job.start'),
    jobId: uuidSchema,
    attempt: attemptSchema,
    spec: jobSpecSchema,
    startBy: z.number(),
    deadlineMs: z.number().positive(),
  }),
  z.object({ seq: sequenceSchema, type: z.literal('job.cancel'), jobId: uuidSchema, attempt: attemptSchema }),
  z.object({ seq: sequenceSchema, type: z.literal('noop') }),
]);
export type AgentCommand = z.infer<typeof agentCommandSchema>;
