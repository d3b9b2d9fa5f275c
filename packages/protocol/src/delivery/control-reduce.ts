import { wireErrorOf } from '../errors.ts';
import type { JobEvent } from '../jobs/event.ts';
import { classOf, type JobSpec } from '../jobs/spec.ts';
import type { AgentCommand } from '../session/command.ts';
import type { ControlJob, ControlLedger } from './control-ledger.ts';
import {
  applyReport,
  endJob,
  enqueue,
  fillInOutcome,
  isMerged,
  isTerminal,
  putJob,
  startCommand,
} from './control-settle.ts';

export { receiveHello } from './control-hello.ts';
export { MAX_ATTEMPTS } from './control-settle.ts';

/** What the control plane knows of an agent that has just been enrolled. */
export function emptyControlLedger(agentId: string, incarnation: string): ControlLedger {
  const counters = { epoch: 0, commandSeq: 0, acked: 0 };
  return { agentId, incarnation, mergedIncarnation: incarnation, ...counters, jobs: new Map(), outbox: [] };
}

/** Queues a job with the command that starts it. A job id that exists already changes nothing. */
export function createJob(
  ledger: ControlLedger,
  { jobId, spec, startBy, deadlineMs }: { jobId: string; spec: JobSpec; startBy: number; deadlineMs: number },
): ControlLedger {
  if (ledger.jobs.has(jobId)) return ledger;
  const job: ControlJob = {
    jobId,
    class: classOf(spec),
    spec,
    startBy,
    deadlineMs,
    state: 'queued',
    attempt: 1,
    lastEventNumber: 0,
    lastEventId: null,
    cancelRequested: false,
    grantedNonce: null,
    dispatched: false,
    diverged: false,
    frozen: false,
    leaseUntil: null,
    error: null,
    result: null,
    startedAt: null,
    endedAt: null,
  };
  return enqueue(putJob(ledger, job), startCommand(job));
}

/** True when no agent can have heard of the job's newest attempt, so that the control plane alone may end it. */
const isUntold = (ledger: ControlLedger, job: ControlJob): boolean =>
  job.state === 'queued' && !job.dispatched && isMerged(ledger);

/** Cancels at once what no agent has heard of; anything else is canceled by the agent, in its turn. */
export function requestCancel(ledger: ControlLedger, jobId: string, now: number): ControlLedger {
  const job = ledger.jobs.get(jobId);
  if (job === undefined || isTerminal(job)) return ledger;
  const asked = { ...job, cancelRequested: true };
  if (isUntold(ledger, job)) {
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

/** The next commands after `afterSeq` (of the session; it begins at `acked`). To be committed BEFORE they are sent. */
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

/** Allows a destructive attempt to begin, once: the same nonce may ask again, another one never gets it. */
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

/** `apply`: the next of the history; `known`: told before, or of an attempt nobody waits for; `other`: another history. */
function judge(job: ControlJob | undefined, event: JobEvent): 'apply' | 'known' | 'other' {
  if (job === undefined || event.attempt < job.attempt) return 'known';
  if (event.attempt > job.attempt) return isTerminal(job) ? 'known' : 'other';
  if (event.eventNumber < job.lastEventNumber) return 'known';
  if (event.eventNumber === job.lastEventNumber) return event.id === job.lastEventId ? 'known' : 'other';
  if (isTerminal(job)) return 'other';
  return event.eventNumber === job.lastEventNumber + 1 && event.previousEventId === job.lastEventId ? 'apply' : 'other';
}

/**
 * Applies events in order. `diverged`: the first event of another history was met; nothing after it was taken, the session
 * must be closed (CLOSE.diverged) and the next hello brings the histories together. Ids of events told before are accepted.
 */
export function receiveReport(
  ledger: ControlLedger,
  events: readonly JobEvent[],
  now: number,
  leaseMs: number,
): { ledger: ControlLedger; acceptedIds: string[]; diverged: boolean } {
  const acceptedIds: string[] = [];
  let next = ledger;
  for (const event of events) {
    const job = next.jobs.get(event.jobId);
    const verdict = judge(job, event);
    if (job !== undefined && verdict === 'other') {
      return { ledger: putJob(next, { ...job, diverged: true }), acceptedIds, diverged: true };
    }
    const { eventNumber, id: eventId, type, at, error, result } = event;
    if (job !== undefined && verdict === 'apply')
      next = applyReport(next, job, { eventNumber, eventId, type, at, error, result }, now, leaseMs);
    else if (job?.attempt === event.attempt) next = fillInOutcome(next, job, { eventId, type, error, result });
    acceptedIds.push(event.id);
  }
  return { ledger: next, acceptedIds, diverged: false };
}

/** Renews the leases of what runs and names what must be stopped. */
export function receiveHeartbeat(
  ledger: ControlLedger,
  running: readonly { jobId: string; attempt: number }[],
  now: number,
  leaseMs: number,
): { ledger: ControlLedger; cancel: { jobId: string; attempt: number }[] } {
  const cancel: { jobId: string; attempt: number }[] = [];
  let next = ledger;
  for (const { jobId, attempt } of running) {
    const job = next.jobs.get(jobId);
    if (job === undefined) continue;
    if (job.attempt !== attempt || isTerminal(job) || job.cancelRequested) cancel.push({ jobId, attempt });
    if (job.attempt !== attempt || (job.state !== 'running' && job.state !== 'lost')) continue;
    next = putJob(next, { ...job, state: 'running', leaseUntil: now + leaseMs });
  }
  return { ledger: next, cancel };
}

/** True when only a grant could let the job begin, and none was given: what is frozen or diverged may have had one. */
const isUngranted = (ledger: ControlLedger, job: ControlJob): boolean =>
  job.class === 'destructive' &&
  (job.state === 'dispatched' || job.state === 'accepted') &&
  job.grantedNonce === null &&
  !job.frozen &&
  !job.diverged &&
  isMerged(ledger);

/**
 * Marks running jobs of which nothing was heard as lost (never sent again for that), ends what no agent heard of in time, and
 * closes what would have needed a grant by then.
 */
export function expireLeases(ledger: ControlLedger, now: number): ControlLedger {
  let next = ledger;
  for (const job of ledger.jobs.values()) {
    if (job.state === 'running' && job.leaseUntil !== null && job.leaseUntil < now) {
      next = putJob(next, { ...job, state: 'lost', leaseUntil: null });
    } else if (isUntold(ledger, job) && now > job.startBy) {
      const error = wireErrorOf('JOB_EXPIRED', 'the job could not be sent before its start-by time');
      next = endJob(next, job, 'expired', error, now);
    } else if (isUngranted(ledger, job) && job.closedAt === undefined && now > job.startBy) {
      next = putJob(next, { ...job, closedAt: now });
    }
  }
  return next;
}

/**
 * To be called once for every agent when the catalog was restored from a copy, with a new incarnation id: nothing is sent
 * or decided until the agent has told its journal, and no unfinished destructive job will be allowed to begin.
 */
export function afterCatalogRestore(ledger: ControlLedger, incarnation: string): ControlLedger {
  const jobs = new Map<string, ControlJob>();
  for (const [jobId, job] of ledger.jobs) {
    const frozen = job.frozen || (job.class === 'destructive' && !isTerminal(job));
    jobs.set(jobId, frozen === job.frozen ? job : { ...job, frozen });
  }
  return { ...ledger, incarnation, jobs };
}
