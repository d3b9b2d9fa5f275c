import { z } from 'zod';
import { uuidSchema } from '../ids.ts';
import { attemptSchema, sequenceSchema } from '../jobs/counters.ts';
import { jobDescriptionSchema } from '../jobs/description.ts';
import { scheduleSetSchema } from '../schedules/schedule-set.ts';

export const agentCommandSchema = z.discriminatedUnion('type', [
  jobDescriptionSchema.extend({
    seq: sequenceSchema,
    type: z.literal('job.start'),
    attempt: attemptSchema,
  }),
  z.object({ seq: sequenceSchema, type: z.literal('job.cancel'), jobId: uuidSchema, attempt: attemptSchema }),
  /** Replaces all schedules of the agent. */
  z.object({ seq: sequenceSchema, type: z.literal('sched.set'), set: scheduleSetSchema }),
  z.object({ seq: sequenceSchema, type: z.literal('noop') }),
]);
export type AgentCommand = z.infer<typeof agentCommandSchema>;
