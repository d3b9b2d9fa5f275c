import { z } from 'zod';
import { sizeOf } from '../delivery/event-size.ts';
import type { WireError } from '../errors.ts';
import { wireErrorOf } from '../errors.ts';
import { uuidSchema } from '../ids.ts';
import { deadlineMsSchema, epochMsSchema } from '../instants.ts';
import { attemptSchema, sequenceSchema } from '../jobs/counters.ts';
import { jobOriginSchema } from '../jobs/origin.ts';
import type { JobSpec } from '../jobs/spec.ts';
import { LIMITS } from '../limits.ts';
import { type AgentCommand, agentCommandSchema } from './command.ts';

/** What every command has in any version. */
const anyCommandSchema = z.object({ seq: sequenceSchema, type: z.string().max(64) });
/** Only the command and the target of a future job are kept: the agent stores the job and never carries it out. */
const futureJobSchema = z.object({
  seq: sequenceSchema,
  type: z.literal('job.start'),
  jobId: uuidSchema,
  attempt: attemptSchema,
  spec: z.object({ command: z.string().max(64), target: z.string().max(64) }),
  origin: jobOriginSchema.catch({ kind: 'command', by: 'unknown' }),
  createdAt: epochMsSchema,
  startBy: epochMsSchema,
  deadlineMs: deadlineMsSchema,
});

/** The control plane refuses larger jobs and schedules before it sends them. */
function isWithinLimits(command: AgentCommand): boolean {
  if (command.type === 'job.start') return sizeOf(command.spec) <= LIMITS.specBytes;
  return command.type !== 'sched.set' || sizeOf(command.set.entries) <= LIMITS.scheduleSetBytes;
}

/**
 * A command as it came over the wire. One of a newer control plane that this agent does not know is still numbered and
 * acknowledged (K10): a job is rejected with `refusal`, anything else is skipped. A set of schedules that is skipped is not held: the next
 * hello still reports the revision before it. Null: not a command, or larger than any that a control plane sends; end the session.
 */
export function readCommand(raw: unknown): { command: AgentCommand; refusal: WireError | null } | null {
  const known = agentCommandSchema.safeParse(raw);
  if (known.success) return isWithinLimits(known.data) ? { command: known.data, refusal: null } : null;
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
