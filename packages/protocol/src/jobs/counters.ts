import { z } from 'zod';

/** Number of a command to one agent. Counts up without gaps. */
export const sequenceSchema = z.int().min(0);
/** Fencing token of a job: which try of it this is. */
export const attemptSchema = z.int().min(1);
/** Random per event; `previousEventId` chains the events of one attempt so that two histories with equal counters differ. */
export const eventIdSchema = z.string().min(1).max(64);
