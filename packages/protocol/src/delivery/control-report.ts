import type { JobDescription } from '../jobs/description.ts';
import type { JobEvent } from '../jobs/event.ts';
import { classOf } from '../jobs/job-class.ts';
import { isMintedByAgents } from '../jobs/origin.ts';
import type { ControlJob, ControlLedger } from './control-ledger.ts';
import { applyReport, fillInOutcome, isTerminal, putJob, recordOf } from './control-settle.ts';

/** What a report holds: events in order, and the jobs that the agent has created itself. */
export interface JobReport {
  readonly events: readonly JobEvent[];
  readonly jobs: readonly JobDescription[];
}

/** `apply`: the next of the history; `known`: reported before, or of an attempt that is no longer awaited; `other`: another history. */
function classifyEvent(job: ControlJob | undefined, event: JobEvent): 'apply' | 'known' | 'other' {
  if (job === undefined || event.attempt < job.attempt) return 'known';
  if (event.attempt > job.attempt) return isTerminal(job) ? 'known' : 'other';
  if (event.eventNumber < job.lastEventNumber) return 'known';
  if (event.eventNumber === job.lastEventNumber) return event.id === job.lastEventId ? 'known' : 'other';
  if (isTerminal(job)) return 'other';
  return event.eventNumber === job.lastEventNumber + 1 && event.previousEventId === job.lastEventId ? 'apply' : 'other';
}

/**
 * Adopts a job that its agent has created: one that the control plane does not know, or one that both have created, when the
 * agent reports its first event. The agent carries out its own version.
 */
function adoptLocalJob(ledger: ControlLedger, described: JobDescription, event: JobEvent, now: number): ControlLedger {
  const { attempt, eventNumber, previousEventId } = event;
  const job = ledger.jobs.get(described.jobId);
  if (job === undefined) {
    const record = recordOf(ledger, { ...described, attempt }, eventNumber === 1, now);
    return putJob(ledger, { ...record, lastEventNumber: eventNumber - 1, lastEventId: previousEventId });
  }
  const isFirst = eventNumber === 1 && attempt === 1 && job.attempt === 1 && job.lastEventNumber === 0;
  if (!isFirst || !isMintedByAgents(job.origin)) return ledger;
  const { spec, startBy, deadlineMs } = described;
  return putJob(ledger, { ...job, class: classOf(spec), spec, startBy, deadlineMs });
}

/**
 * Applies events in order. Jobs that the agent has created are adopted with their first event. `diverged`: the first event of
 * another history was found; nothing after it was applied, the session must be closed (CLOSE.diverged) and the next hello brings
 * the histories together. Ids of events that were reported before are accepted.
 */
export function receiveReport(
  ledger: ControlLedger,
  report: JobReport,
  now: number,
  leaseMs: number,
): { ledger: ControlLedger; acceptedIds: string[]; diverged: boolean } {
  const described = new Map(report.jobs.map((job) => [job.jobId, job]));
  const acceptedIds: string[] = [];
  let next = ledger;
  for (const event of report.events) {
    const description = described.get(event.jobId);
    if (description !== undefined) next = adoptLocalJob(next, description, event, now);
    const job = next.jobs.get(event.jobId);
    const verdict = classifyEvent(job, event);
    if (job !== undefined && verdict === 'other') {
      // The end of a job that has ended is compared by the hello in any case.
      const marked = isTerminal(job) ? next : putJob(next, { ...job, diverged: true });
      return { ledger: marked, acceptedIds, diverged: true };
    }
    const { eventNumber, id: eventId, type, at, error, result } = event;
    const [startedAt, endedAt] = type === 'running' ? [at, null] : [null, at];
    if (job !== undefined && verdict === 'apply') {
      const attempt = { eventNumber, eventId, type, startedAt, endedAt, error, result };
      next = applyReport(next, job, attempt, now, leaseMs);
    } else if (job?.attempt === event.attempt) next = fillInOutcome(next, job, { eventId, type, error, result });
    acceptedIds.push(event.id);
  }
  return { ledger: next, acceptedIds, diverged: false };
}

/** Renews the leases of what runs, and names what must be stopped. */
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
