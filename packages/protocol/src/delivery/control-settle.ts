import type { WireError } from '../errors.ts';
import { wireErrorOf } from '../errors.ts';
import type { EventType, JobEvent } from '../jobs/event.ts';
import type { JobState } from '../jobs/state.ts';
import type { AgentCommand } from '../session/command.ts';
import { type ControlJob, type ControlLedger, TERMINAL_STATES } from './control-ledger.ts';

/** A safe job is begun at most this often; each time after an attempt that the agent reported as interrupted. */
export const MAX_ATTEMPTS = 3;

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

export function putJob(ledger: ControlLedger, job: ControlJob): ControlLedger {
  return { ...ledger, jobs: new Map(ledger.jobs).set(job.jobId, job) };
}

/** Replaces what waits in the outbox for a job by `noop`: a number that was given out is never taken back. */
export function tombstone(ledger: ControlLedger, jobId: string): ControlLedger {
  const outbox = ledger.outbox.map(
    (command): AgentCommand =>
      command.type !== 'noop' && command.jobId === jobId ? { seq: command.seq, type: 'noop' } : command,
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
  const { jobId, attempt, spec, startBy, deadlineMs } = job;
  return { type: 'job.start', jobId, attempt, spec, startBy, deadlineMs };
}

/** Ends a job by the control plane's own decision. */
export function endJob(ledger: ControlLedger, job: ControlJob, state: JobState, error: WireError, now: number) {
  const ended: ControlJob = { ...job, state, error, result: null, leaseUntil: null, endedAt: now };
  return tombstone(putJob(ledger, ended), job.jobId);
}

/** An attempt ended without a result: a safe job gets its next attempt, any other is failed for a person to look at. */
export function afterInterruption(ledger: ControlLedger, job: ControlJob, now: number): ControlLedger {
  const repeatable = job.class === 'safe' && !job.frozen;
  if (repeatable && job.cancelRequested) {
    return endJob(
      ledger,
      job,
      'canceled',
      wireErrorOf('JOB_CANCELED', 'the job was canceled while it was interrupted'),
      now,
    );
  }
  if (!repeatable || job.attempt >= MAX_ATTEMPTS) {
    const message = `attempt ${job.attempt} was interrupted and may have had effects`;
    return endJob(ledger, job, 'failed', job.error ?? wireErrorOf('JOB_INTERRUPTED', message), now);
  }
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

/** What an agent said last of an attempt, by an event or by its hello. */
export interface AttemptReport {
  readonly eventNumber: number;
  readonly eventId: string | null;
  readonly type: EventType;
  readonly at: number;
  readonly error: WireError | null;
  readonly result: JobEvent['result'];
}

/** Takes the agent's word for the job's newest attempt. The caller has checked that it may. */
export function applyReport(
  ledger: ControlLedger,
  job: ControlJob,
  word: AttemptReport,
  now: number,
  leaseMs: number,
): ControlLedger {
  const at = Math.min(word.at, now);
  const running = word.type === 'running';
  const next: ControlJob = {
    ...job,
    state: word.type === 'interrupted' ? job.state : STATE_OF[word.type],
    lastEventNumber: word.eventNumber,
    lastEventId: word.eventId,
    dispatched: true,
    diverged: false,
    leaseUntil: running ? now + leaseMs : null,
    error: word.error,
    result: word.result,
    startedAt: running ? (job.startedAt ?? at) : job.startedAt,
  };
  if (word.type === 'interrupted') return afterInterruption(ledger, next, now);
  if (!isTerminal(next)) return putJob(ledger, next);
  return tombstone(putJob(ledger, { ...next, endedAt: at }), job.jobId);
}

/**
 * A hello tells that an unreported job has ended and leaves to its event how; so may a copy of the catalog have kept it. The
 * error or result is taken from whoever tells it first.
 */
export function fillInOutcome(
  ledger: ControlLedger,
  job: ControlJob,
  told: { readonly eventId: string | null } & Pick<AttemptReport, 'type' | 'error' | 'result'>,
): ControlLedger {
  const untold = isTerminal(job) && job.error === null && job.result === null;
  if (!untold || job.state !== told.type || job.lastEventId !== told.eventId) return ledger;
  if (told.error === null && told.result === null) return ledger;
  return putJob(ledger, { ...job, error: told.error, result: told.result });
}
