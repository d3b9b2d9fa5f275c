import { z } from 'zod';
import { uuidSchema } from '../ids.ts';
import { epochMsSchema } from '../instants.ts';

/** Why a job exists: somebody asked for it, or it is an occurrence of a schedule, due at an instant (milliseconds). */
export const jobOriginSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('command'), by: z.string().max(256) }),
  z.object({ kind: z.literal('schedule'), scheduleId: uuidSchema, due: epochMsSchema }),
]);
export type JobOrigin = z.infer<typeof jobOriginSchema>;

/** True if an agent can create the job too: the id of an occurrence is derived, so both sides mint the same one. */
export const isMintedByAgents = (origin: JobOrigin): boolean => origin.kind === 'schedule';

/** Who created a job, as people read it. */
export const creatorOf = (origin: JobOrigin): string =>
  origin.kind === 'schedule' ? `schedule ${origin.scheduleId}` : origin.by;
