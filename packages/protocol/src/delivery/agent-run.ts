import { wireErrorOf } from '../errors.ts';
import { laneOf } from '../jobs/spec.ts';
import { appendEvent, failureEvent, plainEvent } from './agent-events.ts';
import type { AgentJob, AgentLedger, EventFactory, JobOutcome } from './agent-ledger.ts';
import { blockedTargets, openSteps } from './agent-steps.ts';

/**
 * Before the first hello of a process is answered, its journal may be an old copy, so nothing of it may start (R14). Safe jobs
 * that the agent has created itself do not wait: schedules are carried out without the control plane.
 */
const mayStart = (ledger: AgentLedger, job: AgentJob): boolean =>
  job.state === 'accepted' && (ledger.reconciled || (job.local && job.class === 'safe'));

/**
 * The attempts that may start now, oldest first: at most one per target, none for a target where one runs or where an ended one
 * has left steps that are not taken back. A rotation holds up no other job, because it may wait long for its grant: a control plane
 * that is away must not stop the backups of a schedule.
 */
export function startableJobs(ledger: AgentLedger): AgentJob[] {
  const all = [...ledger.jobs.values()];
  const running = all.filter((job) => job.state === 'running').map((job) => laneOf(job.spec));
  const busy = new Set([...running, ...blockedTargets(ledger)]);
  return all.filter((job) => {
    if (!mayStart(ledger, job) || busy.has(laneOf(job.spec))) return false;
    if (job.spec.command !== 'rotate') busy.add(laneOf(job.spec));
    return true;
  });
}

/**
 * What to do with an accepted job. `grant` is `valid` only while its time, counted from *sending* the request on a monotonic
 * clock, is not over; after that ask again with the same nonce. `wait`: the control plane does not know yet the job for which it
 * is to be asked. After `expire` finish the job with expiredOutcome or, if the grant was denied, with deniedOutcome.
 */
export function nextStep(
  ledger: AgentLedger,
  job: AgentJob,
  { now, grant }: { now: number; grant: 'valid' | 'denied' | 'none' },
): 'run' | 'ask' | 'wait' | 'expire' {
  if (now > job.startBy || grant === 'denied') return 'expire';
  if (job.class === 'safe' || grant === 'valid') return 'run';
  const isReported = !ledger.outbox.some(({ jobId, attempt }) => jobId === job.jobId && attempt === job.attempt);
  return job.local && !isReported ? 'wait' : 'ask';
}

export const expiredOutcome: JobOutcome = {
  type: 'expired',
  error: wireErrorOf('JOB_EXPIRED', 'the job could not start before its start-by time'),
  result: null,
};

/** The outcome of a job whose grant was denied, by the control plane's reason. */
export function deniedOutcome(reason: string): JobOutcome {
  if (reason === 'expired') return expiredOutcome;
  if (reason === 'canceled') {
    return {
      type: 'canceled',
      error: wireErrorOf('JOB_CANCELED', 'the job was canceled before it started'),
      result: null,
    };
  }
  if (reason === 'holds') {
    const message = 'a backup was held after this rotation had been sent; nothing was removed';
    return { type: 'failed', error: wireErrorOf('CONFLICT', message), result: null };
  }
  const message = `the control plane did not allow this attempt to start (${reason}); it was not started`;
  return { type: 'failed', error: wireErrorOf('JOB_INTERRUPTED', message), result: null };
}

/** To be journaled before the first effect. Anything but an accepted attempt stays as it is; then nothing may be started. */
export function markRunning(ledger: AgentLedger, key: string, eventFactory: EventFactory): AgentLedger {
  const job = ledger.jobs.get(key);
  return job?.state === 'accepted' ? appendEvent(ledger, job, eventFactory, 'running', plainEvent('running')) : ledger;
}

/**
 * Ends an attempt. One that has already ended stays as it is. What a success has done outside stays, unless taking back a part of
 * it has failed: then the rest, which came before, is to be taken back as well.
 */
export function finishJob(
  ledger: AgentLedger,
  key: string,
  outcome: JobOutcome,
  eventFactory: EventFactory,
): AgentLedger {
  const job = ledger.jobs.get(key);
  if (job === undefined || job.state === 'finished') return ledger;
  const stays = outcome.type === 'succeeded' && job.steps.every((step) => step.state !== 'failed');
  const steps = stays ? job.steps.filter((step) => step.state !== 'done') : job.steps;
  return appendEvent(ledger, { ...job, steps }, eventFactory, 'finished', outcome);
}

/** Ends a running attempt whose process is gone. */
export function interruptJob(ledger: AgentLedger, key: string, eventFactory: EventFactory): AgentLedger {
  const job = ledger.jobs.get(key);
  if (job?.state !== 'running') return ledger;
  const event = failureEvent('interrupted', 'JOB_INTERRUPTED', 'the agent stopped while the job ran');
  return appendEvent(ledger, job, eventFactory, 'finished', event);
}

/**
 * At the start of the process, when nothing runs: what was running is reported as interrupted and never run again (R5). An
 * attempt that has left steps to take back stays as it is until that was tried.
 */
export function recoverAfterCrash(ledger: AgentLedger, eventFactory: EventFactory): AgentLedger {
  let next = ledger.reconciled ? { ...ledger, reconciled: false } : ledger;
  for (const [key, job] of ledger.jobs) if (openSteps(job).length === 0) next = interruptJob(next, key, eventFactory);
  return next;
}
