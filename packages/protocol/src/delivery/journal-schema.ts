import { z } from 'zod';
import { wireErrorSchema } from '../errors.ts';
import { uuidSchema } from '../ids.ts';
import { epochMsSchema } from '../instants.ts';
import { attemptSchema, eventIdSchema, sequenceSchema } from '../jobs/counters.ts';
import { jobDescriptionSchema } from '../jobs/description.ts';
import { eventTypeSchema, jobEventSchema } from '../jobs/event.ts';
import { scheduleEntrySchema } from '../schedules/schedule-set.ts';
import { incarnationSchema } from '../session/hello.ts';
import type { AgentJob, AgentLedger } from './agent-ledger.ts';

/*
 * The records of an agent's journal. The journal stores nothing that these schemas reject, and a journal that holds such a record
 * counts as damaged: a value that no reducer expects must not keep the agent from connecting forever.
 */
const kindSchema = z.string().min(1).max(64);
const compensationSchema = z.object({ kind: kindSchema, params: z.json().nullable() });
const stepSchema = compensationSchema.extend({
  stepId: z.string().min(1).max(64),
  compensation: compensationSchema.nullable(),
  state: z.enum(['begun', 'done', 'compensated', 'failed']),
  error: wireErrorSchema.nullable(),
});
const jobSchema = jobDescriptionSchema.extend({
  attempt: attemptSchema,
  class: z.enum(['safe', 'destructive']),
  local: z.boolean(),
  state: z.enum(['accepted', 'running', 'finished']),
  cancelRequested: z.boolean(),
  eventNumber: z.int().min(0),
  lastEventId: eventIdSchema.nullable(),
  lastType: eventTypeSchema.nullable(),
  error: wireErrorSchema.nullable(),
  result: z.json().nullable(),
  startedAt: epochMsSchema.nullable(),
  steps: z.array(stepSchema),
  finishedAt: epochMsSchema.nullable(),
});
/** A job of a newer control plane was rejected. It is kept to be reported, and never carried out. */
const futureJobSchema = jobSchema.extend({
  state: z.literal('finished'),
  spec: z.object({ command: z.string().max(64), target: z.string().max(64) }),
});
const storedJobSchema = z.union([jobSchema, futureJobSchema]);

/** A job as the journal holds it; throws for anything else. */
export const parseStoredJob = (value: unknown): AgentJob => storedJobSchema.parse(value) as AgentJob;
export const storedEventSchema = jobEventSchema;
export const storedInstantSchema = z.object({ dueMs: epochMsSchema, repeat: z.int().min(0) });
/** Everything but jobs, events and handled instants. */
export const storedNotesSchema = z.object({
  incarnation: incarnationSchema.nullable(),
  lastSeq: sequenceSchema,
  decidedAt: epochMsSchema.nullable(),
  schedules: z
    .object({
      revision: uuidSchema,
      entries: z.array(scheduleEntrySchema.extend({ activeSince: epochMsSchema })),
    })
    .nullable(),
  mintedIds: z.map(uuidSchema, epochMsSchema),
});
export type StoredNotes = Pick<AgentLedger, 'incarnation' | 'lastSeq' | 'decidedAt' | 'schedules' | 'mintedIds'>;
