import { jobsAheadOf, type QueuedJob } from '@lastgood/core';
import { type ControlJob, type ControlLedger, laneOf } from '@lastgood/protocol';

const queuedJobOf = ({ jobId, spec }: ControlJob): QueuedJob => ({
  jobId,
  command: spec.command,
  target: laneOf(spec),
});

/** The jobs that a job of an agent waits for, by the rule by which the agent starts them; none for a job that has started or ended. */
export function waitingFor(job: ControlJob, ledger: ControlLedger): QueuedJob[] {
  if (job.startedAt !== null || job.endedAt !== null) return [];
  const open = [...ledger.jobs.values()].filter(({ endedAt }) => endedAt === null);
  const running = open.filter(({ startedAt }) => startedAt !== null);
  const queued = open.filter(({ startedAt }) => startedAt === null).toSorted((a, b) => a.createdAt - b.createdAt);
  return jobsAheadOf(queuedJobOf(job), running.map(queuedJobOf), queued.map(queuedJobOf)).map(
    ({ jobId, command, target }) => ({ jobId, command, target }),
  );
}
