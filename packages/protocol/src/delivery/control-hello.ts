import { wireErrorOf } from '../errors.ts';
import { isMintedByAgents } from '../jobs/origin.ts';
import { LIMITS } from '../limits.ts';
import type { HelloInput, JournalJob, KnownJob } from '../session/hello.ts';
import type { ControlJob, ControlLedger } from './control-ledger.ts';
import { repeatSchedules } from './control-schedules.ts';
import {
  afterInterruption,
  applyReport,
  endJob,
  enqueue,
  fillInOutcome,
  isMerged,
  isTerminal,
  MAX_ATTEMPTS,
  putJob,
  queueNextAttempt,
  recordOf,
  startCommand,
} from './control-settle.ts';
import { sizeOf } from './event-size.ts';
import { contradicts } from './history.ts';

/** The answer to a hello must fit into one frame, or the agent could never connect again; the rest is for everything but jobs. */
const RESET_BYTES = LIMITS.frameBytes - 4 * 1024;

const knownJobOf = (job: ControlJob): KnownJob => ({
  jobId: job.jobId,
  attempt: job.attempt,
  lastEventNumber: job.lastEventNumber,
  lastEventId: job.lastEventId,
  terminal: isTerminal(job),
  dispatched: job.dispatched,
  diverged: job.diverged,
  spec: job.spec,
  origin: job.origin,
  createdAt: job.createdAt,
  startBy: job.startBy,
  deadlineMs: job.deadlineMs,
});

interface Hello {
  readonly input: HelloInput;
  readonly now: number;
  readonly leaseMs: number;
  /** The catalog is a copy older than the agent's journal: the agent's history counts. */
  readonly adoptAgentHistory: boolean;
  /** The agent has last spoken with a catalog of another incarnation. */
  readonly foreign: boolean;
}

/** Takes over what the agent reports about one attempt, unless the catalog knows more. */
function adoptReported(ledger: ControlLedger, reported: JournalJob, hello: Hello): ControlLedger {
  const job = ledger.jobs.get(reported.jobId);
  const newer = job === undefined || reported.attempt > job.attempt;
  if (!newer && (reported.attempt < job.attempt || isTerminal(job) || reported.eventNumber < job.lastEventNumber))
    return ledger;
  if (newer && job !== undefined && isTerminal(job)) return ledger;
  // An ended attempt whose end the agent does not know (it once had to take another catalog's version) counts as interrupted.
  const type = reported.lastType ?? 'interrupted';
  const isNew = job === undefined && type === 'accepted' && !hello.adoptAgentHistory && !hello.foreign;
  const record = newer ? recordOf(ledger, reported, isNew, hello.now) : job;
  const base = { ...record, cancelRequested: job?.cancelRequested ?? false };
  const { eventNumber, lastEventId: eventId, startedAt, endedAt, error, result } = reported;
  const report = { eventNumber, eventId, type, startedAt, endedAt, error, result };
  return applyReport(ledger, base, report, hello.now, hello.leaseMs);
}

/** Compares one reported attempt with the catalog, if nothing is wrong with the catalog. */
function reconcileReported(ledger: ControlLedger, reported: JournalJob, hello: Hello): ControlLedger {
  const job = ledger.jobs.get(reported.jobId);
  if (job === undefined || reported.attempt > job.attempt) return adoptReported(ledger, reported, hello);
  if (reported.attempt < job.attempt || isTerminal(job) || contradicts(reported, knownJobOf(job))) return ledger;
  // Its events may have been confirmed by the catalog before, from which this one does not descend.
  if (hello.foreign && reported.eventNumber > job.lastEventNumber) return adoptReported(ledger, reported, hello);
  const leaseUntil = reported.running ? hello.now + hello.leaseMs : null;
  const state =
    job.state === 'queued' ? 'dispatched' : job.state === 'lost' && reported.running ? 'running' : job.state;
  return putJob(ledger, { ...job, state, dispatched: true, leaseUntil: state === 'running' ? leaseUntil : null });
}

/**
 * An occurrence that its agent does not know, but may create at any moment: the attempt is sent again, so that both are one job.
 * If it was canceled, the agent has to learn of it (R12).
 */
function sendAgain(ledger: ControlLedger, job: ControlJob, now: number): ControlLedger {
  if (job.lastEventNumber === 0) return putJob(ledger, { ...job, state: 'queued', dispatched: false });
  // It was reported before: the host was set back since.
  return job.attempt < MAX_ATTEMPTS ? queueNextAttempt(ledger, job) : afterInterruption(ledger, job, now);
}

/** After a restore of the catalog: a job that the agent does not know is sent again if it is safe, otherwise it has failed. */
function settleUnreported(ledger: ControlLedger, reported: readonly JournalJob[], now: number): ControlLedger {
  let next = ledger;
  const attempts = Map.groupBy(reported, ({ jobId }) => jobId);
  for (const job of ledger.jobs.values()) {
    if (isTerminal(job) || attempts.get(job.jobId)?.some(({ attempt }) => attempt >= job.attempt)) continue;
    const repeatable = job.class === 'safe' && !job.frozen;
    if (repeatable && isMintedByAgents(job.origin)) {
      next = sendAgain(next, job, now);
    } else if (repeatable && job.cancelRequested) {
      const error = wireErrorOf('JOB_CANCELED', 'the job was canceled before it was sent');
      next = endJob(next, job, 'canceled', error, now);
    } else if (job.frozen) {
      const message = 'the catalog was restored from a copy and the agent does not know this job';
      next = endJob(next, job, 'failed', wireErrorOf('JOB_INTERRUPTED', message), now);
    } else if (job.dispatched) {
      next = afterInterruption(next, job, now);
    }
  }
  return next;
}

/** Numbers what still has to be sent anew, above everything that the agent has seen. */
function renumber(ledger: ControlLedger, base: number): ControlLedger {
  let next: ControlLedger = { ...ledger, commandSeq: base, acked: base, outbox: [] };
  for (const job of ledger.jobs.values()) if (job.state === 'queued') next = enqueue(next, startCommand(job));
  return next;
}

/** A cancel that was acknowledged may have been lost with the agent's journal: it is sent again while it matters. */
function repeatCancels(ledger: ControlLedger): ControlLedger {
  let next = ledger;
  for (const job of ledger.jobs.values()) {
    if (!job.cancelRequested || isTerminal(job)) continue;
    const { jobId, attempt } = job;
    const waiting = next.outbox.some(
      (command) => command.type === 'job.cancel' && command.jobId === jobId && command.attempt === attempt,
    );
    if (!waiting) next = enqueue(next, { type: 'job.cancel', jobId, attempt });
  }
  return next;
}

/** The jobs that must be sent to an agent whose host was set back: its journal has another history of them, or none. */
interface Disputed {
  readonly sure: boolean;
  readonly conflicts: readonly KnownJob[];
  readonly missing: readonly KnownJob[];
}

function findDisputed(ledger: ControlLedger, input: HelloInput, comparable: boolean): Disputed {
  const conflicts: KnownJob[] = [];
  const absent: KnownJob[] = [];
  // Neither the jobs of the ledger nor those of the hello are searched once for each of the other.
  const attempts = Map.groupBy(input.jobs, ({ jobId }) => jobId);
  const starts = Map.groupBy(
    ledger.outbox.filter((command) => command.type === 'job.start'),
    ({ jobId }) => jobId,
  );
  let sure = comparable && input.lastSeq < ledger.acked;
  for (const job of ledger.jobs.values()) {
    const known = knownJobOf(job);
    const reported = attempts.get(job.jobId) ?? [];
    const conflict = reported.some((entry) => contradicts(entry, known));
    const missing = job.dispatched && !known.terminal && !reported.some(({ attempt }) => attempt >= job.attempt);
    const waits = (starts.get(job.jobId) ?? []).some(
      ({ attempt, seq }) => attempt === job.attempt && seq > input.lastSeq,
    );
    if (conflict) conflicts.push(known);
    else if (missing) absent.push(known);
    if (conflict || (missing && !(comparable && waits && job.lastEventNumber === 0))) sure = true;
  }
  return { sure, conflicts, missing: absent };
}

/**
 * The disputed jobs that are sent now. All other histories: the agent acts on its own as soon as it has the answer. They fit,
 * because the hello that reported them is smaller than a frame. Of the jobs that it has lost as many as fit, at least one:
 * without their command it does nothing for them, and the next hello gets the others.
 */
function conflictsThatFit({ conflicts, missing }: Disputed, maxBytes: number): KnownJob[] {
  let budgetBytes = conflicts.reduce((left, known) => left - sizeOf(known) - 1, maxBytes);
  const jobs = [...conflicts];
  for (const known of missing) {
    budgetBytes -= sizeOf(known) + 1;
    if (budgetBytes < 0 && jobs.length > 0) break;
    jobs.push(known);
  }
  return jobs;
}

export interface ReceivedHello {
  readonly ledger: ControlLedger;
  /** This catalog was restored from a copy: the agent's history was adopted and the commands were numbered anew. */
  readonly merged: { baseSeq: number } | null;
  /** The agent's host was set back: it must adopt the catalog's version of these jobs. */
  readonly reset: { seq: number; jobs: KnownJob[] } | null;
  /**
   * Not all of them fitted into the answer. Close the session (CLOSE.diverged) when the agent has reported what it now knows;
   * its next hello gets the others.
   */
  readonly more: boolean;
}

/** Begins a session (epoch + 1) and brings both histories together. Nothing may be sent to an agent before this. */
export function receiveHello(
  ledger: ControlLedger,
  input: HelloInput,
  now: number,
  leaseMs: number,
  resetBytes: number = RESET_BYTES,
): ReceivedHello {
  const foreign = input.incarnation !== null && input.incarnation !== ledger.incarnation;
  const adoptAgentHistory = !isMerged(ledger) || (!foreign && input.lastSeq > ledger.commandSeq);
  const merge = adoptAgentHistory || foreign;
  const hello: Hello = { input, now, leaseMs, adoptAgentHistory, foreign };
  let next: ControlLedger = {
    ...ledger,
    epoch: ledger.epoch + 1,
    mergedIncarnation: ledger.incarnation,
    completeSince: merge ? now : ledger.completeSince,
  };
  if (!merge && input.lastSeq > next.acked) {
    const outbox = next.outbox.filter(({ seq }) => seq > input.lastSeq);
    next = { ...next, acked: input.lastSeq, outbox };
  }
  for (const reported of input.jobs.toSorted((a, b) => a.attempt - b.attempt)) {
    const job = next.jobs.get(reported.jobId);
    const { lastEventId: eventId, lastType: type, error, result } = reported;
    if (job?.attempt === reported.attempt && type !== null)
      next = fillInOutcome(next, job, { eventId, type, error, result });
    next = adoptAgentHistory ? adoptReported(next, reported, hello) : reconcileReported(next, reported, hello);
  }
  if (adoptAgentHistory) next = settleUnreported(next, input.jobs, now);
  const disputed = findDisputed(next, input, !merge);
  const jobs = disputed.sure ? conflictsThatFit(disputed, resetBytes) : [];
  if (merge) next = renumber(next, Math.max(input.lastSeq, next.commandSeq));
  const seq = next.acked;
  next = repeatSchedules(repeatCancels(next), input.schedules);
  return {
    ledger: next,
    merged: merge ? { baseSeq: seq } : null,
    reset: disputed.sure ? { seq, jobs } : null,
    more: disputed.sure && jobs.length < disputed.conflicts.length + disputed.missing.length,
  };
}
