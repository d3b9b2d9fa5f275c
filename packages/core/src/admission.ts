import type { Command } from '@lastgood/protocol';

/** This many backups, verifications and rotations run at once on a host. */
export const MAX_RUNNING_JOBS = 2;

/** What an emergency needs, and what takes a moment: these never wait for jobs of other targets. */
const URGENT: ReadonlySet<Command> = new Set([
  'plan',
  'restore',
  'plan-undo',
  'undo',
  'hold',
  'release',
  'drop-set-aside',
  'list-contents',
  'check',
  'hook',
]);

/** A job as the decision about its start needs it. */
export interface QueuedJob {
  readonly jobId: string;
  readonly command: Command;
  readonly target: string;
}

const isUrgent = ({ command }: QueuedJob): boolean => URGENT.has(command);

/**
 * The jobs that a job of a host has to wait for; empty when it may start. `running`: the jobs at work on the host. `queued`: those that wait
 * there, oldest first. Jobs of one target run one after the other, in their order. An urgent job does not wait for jobs of other targets, and
 * so neither do the jobs that it waits for.
 */
export function jobsAheadOf<J extends QueuedJob>(
  job: QueuedJob,
  running: readonly J[],
  queued: readonly J[],
): readonly J[] {
  const ofTarget = ({ target }: J): boolean => target === job.target;
  const place = queued.findIndex(({ jobId }) => jobId === job.jobId);
  const older = place === -1 ? queued : queued.slice(0, place);
  const younger = place === -1 ? [] : queued.slice(place + 1);
  const sameTarget = [...running, ...older].filter(ofTarget);
  if (sameTarget.length > 0) return sameTarget;
  if (isUrgent(job) || younger.some((other) => ofTarget(other) && isUrgent(other))) return [];
  const counted = running.filter((other) => !isUrgent(other));
  return counted.length < MAX_RUNNING_JOBS ? [] : counted;
}
