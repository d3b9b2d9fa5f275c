import type { WireError } from '../errors.ts';
import { wireErrorOf } from '../errors.ts';
import type { JobDescription } from '../jobs/description.ts';
import type { EventType, JobEvent } from '../jobs/event.ts';
import { classOf } from '../jobs/job-class.ts';
import { isMintedByAgents } from '../jobs/origin.ts';
import type { JobState } from '../jobs/state.ts';
import type { AgentCommand } from '../session/command.ts';
import { type ControlJob, type ControlLedger, TERMINAL_STATES } from './control-ledger.ts';

/** A safe job is started at most this often; each time after an attempt that the agent reported as interrupted. */
export const MAX_ATTEMPTS = 3;
/** How far the clocks of a host and of the control plane may be apart when something destructive starts. */
const CLOCK_MARGIN_MS = 10 * 60_000;

const STATE_OF: Record<Exclude<EventType, 'interrupted'>, JobState> = {
  accepted: 'accepted',
  rejected: 'rejected',
  running: 'running',
  succeeded: 'succeeded',
  failed: 'failed',
  canceled: 'canceled',
  expired: 'expired',
};

export const isTerminal = (job: ControlJob): boolean => TERMINAL_STATES.has(job.state);
export const isMerged = (ledger: ControlLedger): boolean => ledger.mergedIncarnation === ledger.incarnation;

/** True if no agent can know the job's newest attempt, so that the control plane alone may end it (R12). */
export const isUnknownToAgent = (ledger: ControlLedger, job: ControlJob): boolean =>
  job.state === 'queued' && !job.dispatched && isMerged(ledger) && !isMintedByAgents(job.origin);

export function putJob(ledger: ControlLedger, job: ControlJob): ControlLedger {
  return { ...ledger, jobs: new Map(ledger.jobs).set(job.jobId, job) };
}

/** A job without a history. */
export function newControlJob({ jobId, spec, origin, createdAt, startBy, deadlineMs }: JobDescription): ControlJob {
  return {
    jobId,
    class: classOf(spec),
    spec,
    origin,
    createdAt,
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
}

/**
 * A record for a job, or a newer attempt of it, that only the agent knows. `isNew`: nothing but its creation was reported. A
 * destructive job is frozen unless it is certain that it was never allowed to start: it is new, and due in a time that this
 * catalog knows completely.
 */
export function recordOf(
  ledger: ControlLedger,
  described: JobDescription & { readonly attempt: number },
  isNew: boolean,
  now: number,
): ControlJob {
  const { origin, attempt } = described;
  const { completeSince } = ledger;
  const isComplete =
    origin.kind === 'schedule' && (completeSince === null || origin.due > completeSince + CLOCK_MARGIN_MS);
  return {
    ...newControlJob({ ...described, createdAt: Math.min(described.createdAt, now) }),
    state: 'dispatched',
    attempt,
    dispatched: true,
    frozen: classOf(described.spec) === 'destructive' && !(isNew && attempt === 1 && isComplete),
  };
}

/** Replaces the waiting commands of a job by `noop`: a number that was given out is never taken back. */
export function tombstone(ledger: ControlLedger, jobId: string): ControlLedger {
  const outbox = ledger.outbox.map(
    (command): AgentCommand =>
      'jobId' in command && command.jobId === jobId ? { seq: command.seq, type: 'noop' } : command,
  );
  return { ...ledger, outbox };
}

type Unnumbered<T> = T extends { seq: number } ? Omit<T, 'seq'> : never;

/** Appends a command with the next number. */
export function enqueue(ledger: ControlLedger, command: Unnumbered<AgentCommand>): ControlLedger {
  const seq = ledger.commandSeq + 1;
  return { ...ledger, commandSeq: seq, outbox: [...ledger.outbox, { ...command, seq }] };
}

/** The command that starts the job's newest attempt. */
export function startCommand(job: ControlJob): Unnumbered<AgentCommand> {
  const { jobId, attempt, spec, origin, createdAt, startBy, deadlineMs } = job;
  return { type: 'job.start', jobId, attempt, spec, origin, createdAt, startBy, deadlineMs };
}

/** Ends a job by the control plane's own decision. */
export function endJob(
  ledger: ControlLedger,
  job: ControlJob,
  state: JobState,
  error: WireError,
  now: number,
): ControlLedger {
  const ended: ControlJob = { ...job, state, error, result: null, leaseUntil: null, endedAt: now };
  return tombstone(putJob(ledger, ended), job.jobId);
}

/** Queues the next attempt of a job. */
export function queueNextAttempt(ledger: ControlLedger, job: ControlJob): ControlLedger {
  const next: ControlJob = {
    ...job,
    state: 'queued',
    attempt: job.attempt + 1,
    lastEventNumber: 0,
    lastEventId: null,
    grantedNonce: null,
    dispatched: false,
    diverged: false,
    leaseUntil: null,
    error: null,
    result: null,
  };
  return enqueue(putJob(tombstone(ledger, job.jobId), next), startCommand(next));
}

/** An attempt ended without a result: a safe job gets its next attempt, any other one fails and waits for a person. */
export function afterInterruption(ledger: ControlLedger, job: ControlJob, now: number): ControlLedger {
  const repeatable = job.class === 'safe' && !job.frozen;
  if (repeatable && job.cancelRequested) {
    const error = wireErrorOf('JOB_CANCELED', 'the job was canceled while it was interrupted');
    return endJob(ledger, job, 'canceled', error, now);
  }
  if (repeatable && job.attempt < MAX_ATTEMPTS) return queueNextAttempt(ledger, job);
  const message = `attempt ${job.attempt} was interrupted and may have had effects`;
  return endJob(ledger, job, 'failed', job.error ?? wireErrorOf('JOB_INTERRUPTED', message), now);
}

/** What an agent reported last about an attempt, by an event or by its hello. Times are by its clock. */
export interface AttemptReport {
  readonly eventNumber: number;
  readonly eventId: string | null;
  readonly type: EventType;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  readonly error: WireError | null;
  readonly result: JobEvent['result'];
}

/** Takes over what the agent reported about the job's newest attempt. The caller has checked that it may. */
export function applyReport(
  ledger: ControlLedger,
  job: ControlJob,
  report: AttemptReport,
  now: number,
  leaseMs: number,
): ControlLedger {
  // A host whose clock is ahead must not give times in the future.
  const past = (at: number | null): number | null => (at === null ? null : Math.min(at, now));
  const next: ControlJob = {
    ...job,
    state: report.type === 'interrupted' ? job.state : STATE_OF[report.type],
    lastEventNumber: report.eventNumber,
    lastEventId: report.eventId,
    dispatched: true,
    diverged: false,
    leaseUntil: report.type === 'running' ? now + leaseMs : null,
    error: report.error,
    result: report.result,
    startedAt: job.startedAt ?? past(report.startedAt),
  };
  if (report.type === 'interrupted') return afterInterruption(ledger, next, now);
  if (!isTerminal(next)) return putJob(ledger, next);
  return tombstone(putJob(ledger, { ...next, endedAt: past(report.endedAt) ?? now }), job.jobId);
}

/**
 * A hello reports that an unreported job has ended and leaves its outcome to the event; a copy of the catalog may have kept it
 * like that. The error or result is taken from the first report that has it.
 */
export function fillInOutcome(
  ledger: ControlLedger,
  job: ControlJob,
  report: { readonly eventId: string | null } & Pick<AttemptReport, 'type' | 'error' | 'result'>,
): ControlLedger {
  const lacksOutcome = isTerminal(job) && job.error === null && job.result === null;
  if (!lacksOutcome || job.state !== report.type || job.lastEventId !== report.eventId) return ledger;
  if (report.error === null && report.result === null) return ledger;
  return putJob(ledger, { ...job, error: report.error, result: report.result });
}
