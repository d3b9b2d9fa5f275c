import { z } from 'zod';
import { wireErrorSchema } from '../errors.ts';
import { uuidSchema } from '../ids.ts';
import { attemptSchema, eventIdSchema, sequenceSchema } from '../jobs/counters.ts';
import { eventTypeSchema } from '../jobs/event.ts';
import { jobSpecSchema } from '../jobs/spec.ts';

/** What an agent says of one attempt it has in its journal. */
export const journalJobSchema = z.object({
  jobId: uuidSchema,
  attempt: attemptSchema,
  eventNumber: z.int().min(0),
  lastEventId: eventIdSchema.nullable(),
  lastType: eventTypeSchema.nullable(),
  open: z.boolean(),
  running: z.boolean(),
  spec: jobSpecSchema,
  startBy: z.number(),
  deadlineMs: z.number(),
  /**
   * The terminal event's error and result, so that a control plane restored from an old copy learns them again; cut short, and
   * null as long as that event is unconfirmed, for then it brings them.
   */
  error: wireErrorSchema.nullable(),
  result: z.json().nullable(),
});
export type JournalJob = z.infer<typeof journalJobSchema>;

export const helloInputSchema = z.object({
  instanceId: uuidSchema,
  lastSeq: sequenceSchema,
  incarnation: z.string().nullable(),
  capabilities: z.array(z.string()),
  clock: z.number(),
  agentVersion: z.string(),
  protocol: z.int(),
  jobs: z.array(journalJobSchema),
});
export type HelloInput = z.infer<typeof helloInputSchema>;

export const knownJobSchema = z.object({
  jobId: uuidSchema,
  attempt: attemptSchema,
  lastEventNumber: z.int().min(0),
  lastEventId: eventIdSchema.nullable(),
  terminal: z.boolean(),
  dispatched: z.boolean(),
  diverged: z.boolean(),
  spec: jobSpecSchema,
  startBy: z.number(),
  deadlineMs: z.number(),
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
  /** The control plane was restored from a copy and has taken the agent's word; the agent adopts this sequence. */
  merged: z.object({ baseSeq: sequenceSchema }).nullable(),
  /** The agent's host was rolled back; the agent adopts this sequence and ends what it does not know. */
  reset: z.object({ seq: sequenceSchema, jobs: z.array(knownJobSchema) }).nullable(),
});
export type HelloAnswer = z.infer<typeof helloAnswerSchema>;
