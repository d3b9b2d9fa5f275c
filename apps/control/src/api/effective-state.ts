import { type ControlJob, wireErrorOf } from '@lastgood/protocol';

/** How a job ended, for people: one that was closed has expired, though its agent may still have to say so. */
export function effectiveStateOf(job: ControlJob): Pick<ControlJob, 'state' | 'endedAt' | 'error'> {
  if (job.closedAt === undefined) return job;
  const error = wireErrorOf('JOB_EXPIRED', 'the job did not begin before its start-by time');
  return { state: 'expired', endedAt: job.closedAt, error };
}
