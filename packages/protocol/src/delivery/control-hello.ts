import { wireErrorOf } from '../errors.ts';
import { classOf } from '../jobs/spec.ts';
import { LIMITS } from '../limits.ts';
import type { HelloInput, JournalJob, KnownJob } from '../session/hello.ts';
import type { ControlJob, ControlLedger } from './control-ledger.ts';
import {
  afterInterruption,
  applyReport,
  endJob,
  enqueue,
  fillInOutcome,
  isMerged,
  isTerminal,
  putJob,
  startCommand,
} from './control-settle.ts';
import { sizeOf } from './event-size.ts';
import { contradicts } from './history.ts';

/** The answer to a hello must fit into one frame, or the agent could never connect again; the rest is for what is no job. */
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
  startBy: job.startBy,
  deadlineMs: job.deadlineMs,
});

/** A record for a job, or a newer attempt of it, that only the agent knows: this catalog is younger than the job. */
function recordOf(told: JournalJob, job: ControlJob | undefined): ControlJob {
  const { jobId, attempt, spec, startBy, deadlineMs } = told;
  const destructive = classOf(spec) === 'destructive';
  const cancelRequested = job?.cancelRequested ?? false;
  return {
    jobId,
    class: classOf(spec),
    spec,
    startBy,
    deadlineMs,
    state: 'dispatched',
    attempt,
    lastEventNumber: 0,
    lastEventId: null,
    cancelRequested,
    grantedNonce: null,
    dispatched: true,
    diverged: false,
    // Whether it was ever allowed to begin is not known any more.
    frozen: destructive,
    leaseUntil: null,
    error: null,
    result: null,
    startedAt: null,
    endedAt: null,
  };
}

interface Hello {
  readonly input: HelloInput;
  readonly now: number;
  readonly leaseMs: number;
  /** The catalog is a copy older than the agent's journal: the agent's word counts. */
  readonly adoptAgentHistory: boolean;
  /** The agent has last spoken with a catalog of another incarnation. */
  readonly foreign: boolean;
}

function believeJob(ledger: ControlLedger, told: JournalJob, hello: Hello): ControlLedger {
  const job = ledger.jobs.get(told.jobId);
  const newer = job === undefined || told.attempt > job.attempt;
  if (!newer && (told.attempt < job.attempt || isTerminal(job) || told.eventNumber < job.lastEventNumber))
    return ledger;
  if (newer && job !== undefined && isTerminal(job)) return ledger;
  const base = newer ? recordOf(told, job) : job;
  // An ended attempt whose end the agent does not know (it once had to take another catalog's word) counts as interrupted.
  const type = told.lastType ?? 'interrupted';
  const { eventNumber, lastEventId: eventId, error, result } = told;
  return applyReport(
    ledger,
    base,
    { eventNumber, eventId, type, at: hello.now, error, result },
    hello.now,
    hello.leaseMs,
  );
}

/** One told attempt against the catalog, when nothing is wrong with the catalog. */
function meetJob(ledger: ControlLedger, told: JournalJob, hello: Hello): ControlLedger {
  const job = ledger.jobs.get(told.jobId);
  if (job === undefined || told.attempt > job.attempt) return believeJob(ledger, told, hello);
  if (told.attempt < job.attempt || isTerminal(job) || contradicts(told, knownJobOf(job))) return ledger;
  // Its events may have been confirmed by the catalog before, which this one does not descend from.
  if (hello.foreign && told.eventNumber > job.lastEventNumber) return believeJob(ledger, told, hello);
  const leaseUntil = told.running ? hello.now + hello.leaseMs : null;
  const state = job.state === 'queued' ? 'dispatched' : job.state === 'lost' && told.running ? 'running' : job.state;
  return putJob(ledger, { ...job, state, dispatched: true, leaseUntil: state === 'running' ? leaseUntil : null });
}

/** After a restore of the catalog: what the agent does not know is sent anew when it is safe, else it is over. */
function settleUntold(ledger: ControlLedger, told: readonly JournalJob[], now: number): ControlLedger {
  let next = ledger;
  const attempts = Map.groupBy(told, ({ jobId }) => jobId);
  for (const job of ledger.jobs.values()) {
    if (isTerminal(job) || attempts.get(job.jobId)?.some(({ attempt }) => attempt >= job.attempt)) continue;
    if (job.cancelRequested && job.class === 'safe') {
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

/** Numbers what is still to be told anew, above everything that the agent has seen. */
function renumber(ledger: ControlLedger, base: number): ControlLedger {
  let next: ControlLedger = { ...ledger, commandSeq: base, acked: base, outbox: [] };
  for (const job of ledger.jobs.values()) if (job.state === 'queued') next = enqueue(next, startCommand(job));
  return next;
}

/** A cancel that was acknowledged may have been lost with the agent's journal: it is said again while it matters. */
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

/** The jobs of which an agent that went back in time must hear, because its journal tells another history or none. */
interface Disputed {
  readonly sure: boolean;
  readonly conflicts: readonly KnownJob[];
  readonly missing: readonly KnownJob[];
}

function disputed(ledger: ControlLedger, input: HelloInput, comparable: boolean): Disputed {
  const conflicts: KnownJob[] = [];
  const absent: KnownJob[] = [];
  // A catalog has thousands of jobs and a hello tells hundreds: neither is searched for each of the other.
  const attempts = Map.groupBy(input.jobs, ({ jobId }) => jobId);
  const starts = Map.groupBy(
    ledger.outbox.filter((command) => command.type === 'job.start'),
    ({ jobId }) => jobId,
  );
  let sure = comparable && input.lastSeq < ledger.acked;
  for (const job of ledger.jobs.values()) {
    const known = knownJobOf(job);
    const told = attempts.get(job.jobId) ?? [];
    const conflict = told.some((entry) => contradicts(entry, known));
    const missing = job.dispatched && !known.terminal && !told.some(({ attempt }) => attempt >= job.attempt);
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
 * What of it is told now. All other histories: the agent acts on its own as soon as it has the answer. They fit, for the
 * hello told them, which is smaller than a frame. Of the jobs that it has lost as many as fit, one at least: without their
 * command it does nothing for them, and the next hello tells of the others.
 */
function conflictsThatFit({ conflicts, missing }: Disputed, maxBytes: number): KnownJob[] {
  let room = conflicts.reduce((left, known) => left - sizeOf(known) - 1, maxBytes);
  const jobs = [...conflicts];
  for (const known of missing) {
    room -= sizeOf(known) + 1;
    if (room < 0 && jobs.length > 0) break;
    jobs.push(known);
  }
  return jobs;
}

interface HelloMet {
  readonly ledger: ControlLedger;
  readonly merged: { baseSeq: number } | null;
  readonly reset: { seq: number; jobs: KnownJob[] } | null;
  readonly more: boolean;
}

/**
 * Begins a session (epoch + 1) and brings both histories together. `merged`: this catalog was restored from a copy, the
 * agent's word was taken and the commands were numbered anew. `reset`: the agent's host was set back, it must take the
 * catalog's word for these jobs. Nothing may be sent to an agent before this. `more`: not all of them fitted into the answer;
 * the session is to be closed (CLOSE.diverged) when the agent has reported what it now knows, for its next hello gets the others.
 */
export function receiveHello(
  ledger: ControlLedger,
  input: HelloInput,
  now: number,
  leaseMs: number,
  resetBytes: number = RESET_BYTES,
): HelloMet {
  const foreign = input.incarnation !== null && input.incarnation !== ledger.incarnation;
  const adoptAgentHistory = !isMerged(ledger) || (!foreign && input.lastSeq > ledger.commandSeq);
  const merge = adoptAgentHistory || foreign;
  const hello: Hello = { input, now, leaseMs, adoptAgentHistory, foreign };
  let next: ControlLedger = { ...ledger, epoch: ledger.epoch + 1, mergedIncarnation: ledger.incarnation };
  if (!merge && input.lastSeq > next.acked) {
    const outbox = next.outbox.filter(({ seq }) => seq > input.lastSeq);
    next = { ...next, acked: input.lastSeq, outbox };
  }
  for (const told of input.jobs.toSorted((a, b) => a.attempt - b.attempt)) {
    const job = next.jobs.get(told.jobId);
    const { lastEventId: eventId, lastType: type, error, result } = told;
    if (job?.attempt === told.attempt && type !== null)
      next = fillInOutcome(next, job, { eventId, type, error, result });
    next = hello.adoptAgentHistory ? believeJob(next, told, hello) : meetJob(next, told, hello);
  }
  if (adoptAgentHistory) next = settleUntold(next, input.jobs, now);
  const found = disputed(next, input, !merge);
  const jobs = found.sure ? conflictsThatFit(found, resetBytes) : [];
  if (merge) next = renumber(next, Math.max(input.lastSeq, next.commandSeq));
  const seq = next.acked;
  next = repeatCancels(next);
  return {
    ledger: next,
    merged: merge ? { baseSeq: seq } : null,
    reset: found.sure ? { seq, jobs } : null,
    more: found.sure && jobs.length < found.conflicts.length + found.missing.length,
  };
}
