import { wireErrorOf } from '../errors.ts';
import type { JobDescription } from '../jobs/description.ts';
import type { AgentCommand } from '../session/command.ts';
import type { ControlJob, ControlLedger } from './control-ledger.ts';
import {
  endJob,
  enqueue,
  isMerged,
  isTerminal,
  isUnknownToAgent,
  newControlJob,
  putJob,
  startCommand,
} from './control-settle.ts';

/** Queues a job with the command that starts it. A job id that exists already changes nothing. */
export function createJob(ledger: ControlLedger, description: JobDescription): ControlLedger {
  if (ledger.jobs.has(description.jobId)) return ledger;
  const job = newControlJob(description);
  return enqueue(putJob(ledger, job), startCommand(job));
}

/** Cancels at once what no agent can know of; anything else is canceled by the agent. */
export function requestCancel(ledger: ControlLedger, jobId: string, now: number): ControlLedger {
  const job = ledger.jobs.get(jobId);
  if (job === undefined || isTerminal(job)) return ledger;
  const asked = { ...job, cancelRequested: true };
  if (isUnknownToAgent(ledger, job)) {
    const error = wireErrorOf('JOB_CANCELED', 'the job was canceled before it was sent');
    return endJob(ledger, asked, 'canceled', error, now);
  }
  if (job.cancelRequested) return ledger;
  return enqueue(putJob(ledger, asked), { type: 'job.cancel', jobId, attempt: job.attempt });
}

/** The agent has journaled everything up to this number. */
export function acknowledge(ledger: ControlLedger, upToSeq: number): ControlLedger {
  const acked = Math.min(upToSeq, ledger.commandSeq);
  if (acked <= ledger.acked) return ledger;
  return { ...ledger, acked, outbox: ledger.outbox.filter(({ seq }) => seq > acked) };
}

/** The next commands after `afterSeq` (of the session; it starts at `acked`). To be committed before they are sent. */
export function dispatch(
  ledger: ControlLedger,
  afterSeq: number,
  limit: number,
): { ledger: ControlLedger; commands: AgentCommand[] } {
  if (!isMerged(ledger)) return { ledger, commands: [] };
  const commands = ledger.outbox.filter(({ seq }) => seq > afterSeq).slice(0, limit);
  let next = ledger;
  for (const command of commands) {
    if (command.type !== 'job.start') continue;
    const job = next.jobs.get(command.jobId);
    if (job?.state !== 'queued' || job.attempt !== command.attempt) continue;
    next = putJob(next, { ...job, state: 'dispatched', dispatched: true });
  }
  return { ledger: next, commands };
}

function denialReason(ledger: ControlLedger, job: ControlJob, nonce: string, now: number): string {
  if (!isMerged(ledger)) return 'unmerged';
  if (isTerminal(job)) return 'ended';
  // Not by the clock of now, which may have been set back since.
  if (job.closedAt !== undefined) return 'expired';
  if (job.frozen) return 'frozen';
  if (job.diverged) return 'diverged';
  if (job.cancelRequested) return 'canceled';
  if (job.grantedNonce !== null && job.grantedNonce !== nonce) return 'used';
  if (job.state !== 'dispatched' && job.state !== 'accepted') return 'begun';
  return now > job.startBy ? 'expired' : '';
}

/** Allows a destructive attempt to start, once: the same nonce may ask again, another one never gets the grant. */
export function grantStart(
  ledger: ControlLedger,
  jobId: string,
  attempt: number,
  nonce: string,
  now: number,
): { ledger: ControlLedger; granted: boolean; reason: string } {
  const job = ledger.jobs.get(jobId);
  const reason = job === undefined || job.attempt !== attempt ? 'unknown' : denialReason(ledger, job, nonce, now);
  if (job === undefined || reason !== '') return { ledger, granted: false, reason };
  return { ledger: putJob(ledger, { ...job, grantedNonce: nonce }), granted: true, reason: '' };
}

/** True if only a grant could let the job start, and none was given: a frozen or diverged job may have had one. */
const isUngranted = (ledger: ControlLedger, job: ControlJob): boolean =>
  job.class === 'destructive' &&
  (job.state === 'dispatched' || job.state === 'accepted') &&
  job.grantedNonce === null &&
  !job.frozen &&
  !job.diverged &&
  isMerged(ledger);

/**
 * Marks running jobs about which nothing was reported as lost (nothing is sent again), ends what no agent could know of in time,
 * and closes what would have needed a grant by then.
 */
export function expireLeases(ledger: ControlLedger, now: number): ControlLedger {
  let next = ledger;
  for (const job of ledger.jobs.values()) {
    if (job.state === 'running' && job.leaseUntil !== null && job.leaseUntil < now) {
      next = putJob(next, { ...job, state: 'lost', leaseUntil: null });
    } else if (isUnknownToAgent(ledger, job) && now > job.startBy) {
      const error = wireErrorOf('JOB_EXPIRED', 'the job could not be sent before its start-by time');
      next = endJob(next, job, 'expired', error, now);
    } else if (isUngranted(ledger, job) && job.closedAt === undefined && now > job.startBy) {
      next = putJob(next, { ...job, closedAt: now });
    }
  }
  return next;
}

/**
 * To be called once for every agent when the catalog was restored from a copy, with a new incarnation id: nothing is sent or
 * decided until the agent's journal was merged, and no unfinished destructive job will be allowed to start.
 */
export function afterCatalogRestore(ledger: ControlLedger, incarnation: string): ControlLedger {
  const jobs = new Map<string, ControlJob>();
  for (const [jobId, job] of ledger.jobs) {
    const frozen = job.frozen || (job.class === 'destructive' && !isTerminal(job));
    jobs.set(jobId, frozen === job.frozen ? job : { ...job, frozen });
  }
  return { ...ledger, incarnation, jobs };
}
