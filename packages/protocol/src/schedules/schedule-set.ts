import { z } from 'zod';
import { nameSchema, uuidSchema } from '../ids.ts';
import { deadlineMsSchema, scheduleMsSchema } from '../instants.ts';
import { jobSpecSchema } from '../jobs/spec.ts';
import { LIMITS } from '../limits.ts';

/** One schedule of one target: when a job is due, and what the job is. Durations are in milliseconds. */
export const scheduleEntrySchema = z.object({
  scheduleId: uuidSchema,
  /** Unique within its target. */
  name: nameSchema,
  cron: z.string().min(1).max(200),
  timezone: z.string().min(1).max(64),
  spreadMs: scheduleMsSchema,
  spreadKey: z.string().max(256),
  windowMs: scheduleMsSchema,
  maxRunMs: deadlineMsSchema,
  catchUp: z.enum(['none', 'last']),
  spec: jobSpecSchema,
});
export type ScheduleEntry = z.infer<typeof scheduleEntrySchema>;

/** All schedules of one agent. The revision is derived from the entries: equal revisions have equal entries. */
export const scheduleSetSchema = z.object({
  revision: uuidSchema,
  entries: z.array(scheduleEntrySchema).max(LIMITS.schedules),
});
export type ScheduleSet = z.infer<typeof scheduleSetSchema>;
