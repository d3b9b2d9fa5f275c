import { z } from 'zod';
import { nameSchema, uuidSchema } from '../ids.ts';
import { controlTimeSchema, epochMsSchema } from '../instants.ts';
import { streamReportSchema } from '../inventory/stream-report.ts';
import { attemptSchema, eventIdSchema, sequenceSchema } from '../jobs/counters.ts';
import { jobDescriptionSchema } from '../jobs/description.ts';
import { jobEventSchema } from '../jobs/event.ts';
import { progressSchema } from '../jobs/progress.ts';
import { sessionIdSchema } from './session-id.ts';

/** Every call within a session carries its id. */
export const inSession = { sessionId: sessionIdSchema };
export const ackInputSchema = z.object({ ...inSession, upToSeq: sequenceSchema });
/** The agent's wall clock as it sends, so that a corrected clock counts without a new session. */
const clock = epochMsSchema.optional();
export const grantInputSchema = z.object({
  ...inSession,
  jobId: uuidSchema,
  attempt: attemptSchema,
  nonce: z.string().min(1).max(64),
  clock,
});
export const grantAnswerSchema = z.object({
  granted: z.boolean(),
  ttlMs: z.number().min(0).max(600_000),
  reason: z.string().max(256),
});
/** The answer to a call that only has to be received. */
export const emptyAnswerSchema = z.object({});
export const reportInputSchema = z.object({
  ...inSession,
  events: z.array(jobEventSchema).min(1).max(256),
  /** What the jobs are that the agent has created itself, so that the control plane can adopt them. */
  jobs: z.array(jobDescriptionSchema).max(256).default([]),
});
export const reportAnswerSchema = z.object({ acceptedIds: z.array(eventIdSchema).max(256) });
export const heartbeatInputSchema = z.object({
  ...inSession,
  ackSeq: sequenceSchema,
  progress: z.array(progressSchema).max(64),
  running: z.array(z.object({ jobId: uuidSchema, attempt: attemptSchema })).max(64),
  outboxDepth: z.int().min(0),
  /** Where the log streams of the host are. */
  streams: z
    .array(z.object({ target: nameSchema, report: streamReportSchema }))
    .max(64)
    .default([]),
  clock,
});
export const heartbeatAnswerSchema = z.object({
  controlClock: controlTimeSchema,
  cancel: z.array(z.object({ jobId: uuidSchema, attempt: attemptSchema })).max(64),
});
