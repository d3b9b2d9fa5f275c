import { z } from 'zod';

/** Number of a command to one agent. Counts up without gaps. */
export const sequenceSchema = z.int().min(0);
/** Room for the commands that an agent without a history may have behind it. Above it, sequences only grow by single commands. */
export const MAX_BASE_SEQUENCE = 2 ** 52;
/** The sequence that an agent reports. Numbers above it are used by nobody. */
export const reportedSequenceSchema = sequenceSchema.max(MAX_BASE_SEQUENCE + 2 ** 40);
/** Fencing token of a job: which try of it this is. */
export const attemptSchema = z.int().min(1).max(1_000_000);
/** Random per event; `previousEventId` chains the events of one attempt so that two histories with equal counters differ. */
export const eventIdSchema = z.string().min(1).max(64);
