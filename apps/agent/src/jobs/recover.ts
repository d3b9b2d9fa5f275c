import { type Clock, summariesOf } from '@lastgood/core';
import {
  type AgentJob,
  finishJob,
  interruptJob,
  type JobOutcome,
  jobKey,
  openSteps,
  recoverAfterCrash,
} from '@lastgood/protocol';
import { eventsNow } from '../journal/event-factory.ts';
import type { Journal } from '../journal/journal.ts';
import type { Log } from '../log.ts';
import type { Target } from './targets.ts';

/** The outcome of a backup whose manifest was published before the process died; undefined if there is none. */
async function publishedOutcome(job: AgentJob, target: Target): Promise<JobOutcome | undefined> {
  const repository = await target.repository();
  const { backups } = await repository.list(target.ref);
  const backup = summariesOf(backups, target.config.repository).find((_summary, index) => {
    const manifest = backups[index]?.manifest;
    return manifest?.jobId === job.jobId && manifest.attempt === job.attempt;
  });
  if (backup === undefined) return undefined;
  const durationMs = Math.max(0, Date.parse(backup.finishedAt) - Date.parse(backup.startedAt));
  return { type: 'succeeded', error: null, result: { command: 'backup', backup, durationMs } };
}

/**
 * Ends in the journal an attempt whose process is gone: a backup whose manifest is there has succeeded, everything else was
 * interrupted.
 */
export async function settleInterrupted(
  journal: Journal,
  targets: ReadonlyMap<string, Target>,
  clock: Clock,
  log: Log,
  job: AgentJob,
): Promise<void> {
  const key = jobKey(job.jobId, job.attempt);
  const target = targets.get(job.spec.target);
  if (job.spec.command === 'backup' && target !== undefined) {
    try {
      const outcome = await publishedOutcome(job, target);
      if (outcome !== undefined) {
        journal.update((ledger) => finishJob(ledger, key, outcome, eventsNow(clock)));
        log.info({ job: job.jobId }, 'an interrupted backup had already been published');
      }
    } catch (error) {
      log.warn(
        { job: job.jobId, error: error instanceof Error ? error.message : String(error) },
        'cannot check the repository for an interrupted backup',
      );
    }
  }
  journal.update((ledger) => interruptJob(ledger, key, eventsNow(clock)));
}

/**
 * Settles what ran when the process died, before anything is started or reported. An attempt that has left steps to take back is
 * settled by the Compensator.
 */
export async function recoverInterrupted(
  journal: Journal,
  targets: ReadonlyMap<string, Target>,
  clock: Clock,
  log: Log,
): Promise<void> {
  for (const job of journal.ledger.jobs.values())
    if (job.state === 'running' && openSteps(job).length === 0)
      await settleInterrupted(journal, targets, clock, log, job);
  journal.update((ledger) => recoverAfterCrash(ledger, eventsNow(clock)));
}
