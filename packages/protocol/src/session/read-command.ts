import { z } from 'zod';
import type { WireError } from '../errors.ts';
import { wireErrorOf } from '../errors.ts';
import { uuidSchema } from '../ids.ts';
import { jobOriginSchema } from '../jobs/origin.ts';
import type { JobSpec } from '../jobs/spec.ts';
import { type AgentCommand, agentCommandSchema } from './command.ts';

/** What every command has in any version. Of the spec of a future job only its command and target are known. */
const anyCommandSchema = z.object({ seq: z.int().min(0), type: z.string() });
const futureJobSchema = z.object({
  seq: z.int().min(0),
  type: z.literal('job.start'),
  jobId: uuidSchema,
  attempt: z.int().min(1),
  spec: z.looseObject({ command: z.string().max(64), target: z.string().max(64) }),
  origin: jobOriginSchema.catch({ kind: 'command', by: 'unknown' }),
  createdAt: z.number(),
  startBy: z.number(),
  deadlineMs: z.number().positive(),
});

/**
 * A command as it came over the wire. One of a newer control plane that this agent does not know is still numbered and
 * acknowledged (K10): a job is rejected with `refusal`, anything else is skipped. A set of schedules that is skipped is not held: the next
 * hello still reports the revision before it. Null: not a command at all.
 */
export function readCommand(raw: unknown): { command: AgentCommand; refusal: WireError | null } | null {
  const known = agentCommandSchema.safeParse(raw);
  if (known.success) return { command: known.data, refusal: null };
  const job = futureJobSchema.safeParse(raw);
  if (job.success) {
    const refusal = wireErrorOf('COMMAND_UNSUPPORTED', `this agent does not understand "${job.data.spec.command}"`);
    // It is only stored and reported, never carried out.
    const spec = job.data.spec as unknown as JobSpec;
    return { command: { ...job.data, spec }, refusal };
  }
  const any = anyCommandSchema.safeParse(raw);
  if (!any.success || ['job.start', 'job.cancel', 'noop'].includes(any.data.type)) return null;
  return { command: { seq: any.data.seq, type: 'noop' }, refusal: null };
}
