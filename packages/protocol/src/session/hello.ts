import { z } from 'zod';
import { wireErrorSchema } from '../errors.ts';
import { uuidSchema } from '../ids.ts';
import { controlTimeSchema, epochMsSchema } from '../instants.ts';
import { attemptSchema, eventIdSchema, reportedSequenceSchema, sequenceSchema } from '../jobs/counters.ts';
import { jobDescriptionSchema } from '../jobs/description.ts';
import { eventTypeSchema } from '../jobs/event.ts';
import { sessionIdSchema } from './session-id.ts';

const MINUTE_MS = 60_000;
/** Identifies one life of the catalog: it is new after each restore of the catalog. */
export const incarnationSchema = z.string().regex(/^[0-9A-Za-z-]{1,64}$/);

/** One attempt of a job in the journal of an agent. Times are by the agent's clock. */
export const journalJobSchema = jobDescriptionSchema.extend({
  attempt: attemptSchema,
  eventNumber: z.int().min(0),
  lastEventId: eventIdSchema.nullable(),
  lastType: eventTypeSchema.nullable(),
  open: z.boolean(),
  running: z.boolean(),
  startedAt: epochMsSchema.nullable(),
  endedAt: epochMsSchema.nullable(),
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
  lastSeq: reportedSequenceSchema,
  incarnation: incarnationSchema.nullable(),
  /** The revision of the schedules that the agent holds; null before it was sent any. */
  schedules: uuidSchema.nullable(),
  capabilities: z.array(z.string().max(64)).max(256),
  clock: epochMsSchema,
  agentVersion: z.string().max(64),
  /** The public key that the host signs its backups with, for the catalog. */
  signingKey: z.string().regex(/^[\w:-]{0,64}$/),
  /** The highest epoch that a control plane of this incarnation has given the agent since its process started; 0 before the first. */
  newestEpoch: z.int().min(0),
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

/** The agent stores a part of it in its journal and waits by it, so every field is bounded. Times in milliseconds. */
export const helloAnswerSchema = z.object({
  sessionId: sessionIdSchema,
  epoch: z.int().min(0),
  incarnation: incarnationSchema,
  protocol: z.int().min(0),
  controlClock: controlTimeSchema,
  /** An agent looks once a second whether a heartbeat is due, whatever is asked for. */
  heartbeatMs: z
    .number()
    .min(10)
    .max(5 * MINUTE_MS),
  leaseMs: z
    .number()
    .min(1_000)
    .max(60 * MINUTE_MS),
  spreadMs: z
    .number()
    .min(0)
    .max(10 * MINUTE_MS),
  /** The control plane was restored from a copy and has adopted the agent's history; the agent adopts this sequence. */
  merged: z.object({ baseSeq: sequenceSchema }).nullable(),
  /** The agent's host was set back; the agent adopts this sequence and ends what it does not know. */
  reset: z.object({ seq: sequenceSchema, jobs: z.array(knownJobSchema).max(1000) }).nullable(),
});
export type HelloAnswer = z.infer<typeof helloAnswerSchema>;
