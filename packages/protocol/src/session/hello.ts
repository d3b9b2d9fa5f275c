import { z } from 'zod';
import { wireErrorSchema } from '../errors.ts';
import { uuidSchema } from '../ids.ts';
import { attemptSchema, eventIdSchema, sequenceSchema } from '../jobs/counters.ts';
import { jobDescriptionSchema } from '../jobs/description.ts';
import { eventTypeSchema } from '../jobs/event.ts';

/** One attempt of a job in the journal of an agent. Times are by the agent's clock. */
export const journalJobSchema = jobDescriptionSchema.extend({
  attempt: attemptSchema,
  eventNumber: z.int().min(0),
  lastEventId: eventIdSchema.nullable(),
  lastType: eventTypeSchema.nullable(),
  open: z.boolean(),
  running: z.boolean(),
  startedAt: z.number().nullable(),
  endedAt: z.number().nullable(),
  /**
   * The terminal event's error and result, so that a control plane restored from an old copy learns them again. Bounded in size,
   * and null as long as that event is unconfirmed, because then it brings them.
   */
  error: wireErrorSchema.nullable(),
  result: z.json().nullable(),
});
export type JournalJob = z.infer<typeof journalJobSchema>;

export const helloInputSchema = z.object({
  instanceId: uuidSchema,
  lastSeq: sequenceSchema,
  incarnation: z.string().nullable(),
  /** The revision of the schedules that the agent holds; null before it was sent any. */
  schedules: uuidSchema.nullable(),
  capabilities: z.array(z.string()),
  clock: z.number(),
  agentVersion: z.string(),
  protocol: z.int(),
  jobs: z.array(journalJobSchema),
});
export type HelloInput = z.infer<typeof helloInputSchema>;

/** One job as the control plane knows it (the newest attempt). */
export const knownJobSchema = jobDescriptionSchema.extend({
  attempt: attemptSchema,
  lastEventNumber: z.int().min(0),
  lastEventId: eventIdSchema.nullable(),
  terminal: z.boolean(),
  dispatched: z.boolean(),
  diverged: z.boolean(),
});
export type KnownJob = z.infer<typeof knownJobSchema>;

export const helloAnswerSchema = z.object({
  sessionId: z.string(),
  epoch: z.int(),
  incarnation: z.string(),
  protocol: z.int(),
  controlClock: z.number(),
  heartbeatMs: z.number(),
  leaseMs: z.number(),
  spreadMs: z.number(),
  /** The control plane was restored from a copy and has adopted the agent's history; the agent adopts this sequence. */
  merged: z.object({ baseSeq: sequenceSchema }).nullable(),
  /** The agent's host was set back; the agent adopts this sequence and ends what it does not know. */
  reset: z.object({ seq: sequenceSchema, jobs: z.array(knownJobSchema) }).nullable(),
});
export type HelloAnswer = z.infer<typeof helloAnswerSchema>;
