import type { ControlJob } from '@lastgood/protocol';
import { LEASE_MS } from './times.ts';

/**
 * True if a job without a reported end can no longer run on its host: its start-by time is over, or once it was started its
 * deadline, and a lease on top, because its agent may be about to connect. After a start of the control plane every agent is.
 */
export function isOverdue(job: ControlJob, now: number, openedAt: number): boolean {
  if (job.endedAt !== null) return false;
  const started = job.state === 'running' || job.state === 'lost';
  // Later attempts were started before the start-by time as well.
  const startedBy = job.attempt === 1 ? (job.startedAt ?? job.startBy) : job.startBy;
  const until = started ? startedBy + job.deadlineMs : job.startBy;
  return now > Math.max(until, openedAt) + LEASE_MS;
}
