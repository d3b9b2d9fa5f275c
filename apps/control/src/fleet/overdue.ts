import type { ControlJob } from '@lastgood/protocol';
import { LEASE_MS } from './fleet.ts';

/**
 * True when a job that has not ended can only have ended on its host: its start-by time is over, or once it was begun its
 * deadline, and a lease on top, for its agent may be on its way. After a start of the control plane every agent is.
 */
export function isOverdue(job: ControlJob, now: number, openedAt: number): boolean {
  if (job.endedAt !== null) return false;
  const begun = job.state === 'running' || job.state === 'lost';
  // Later attempts have begun before the start-by time as well.
  const beganBy = job.attempt === 1 ? (job.startedAt ?? job.startBy) : job.startBy;
  const until = begun ? beganBy + job.deadlineMs : job.startBy;
  return now > Math.max(until, openedAt) + LEASE_MS;
}
