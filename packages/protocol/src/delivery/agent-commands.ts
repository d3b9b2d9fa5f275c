import type { WireError } from '../errors.ts';
import type { JobDescription } from '../jobs/description.ts';
import type { JobSpec } from '../jobs/spec.ts';
import { LIMITS } from '../limits.ts';
import type { AgentCommand } from '../session/command.ts';
import {
  appendEvent,
  dropEvents,
  endedSilently,
  failureEvent,
  newAgentJob,
  noteMintedId,
  plainEvent,
  putAgentJob,
} from './agent-events.ts';
import { type AgentJob, type AgentLedger, type EventFactory, jobKey } from './agent-ledger.ts';
import { adoptScheduleSet } from './agent-schedules.ts';
import { sizeOf } from './event-size.ts';
import { makeCapacity } from './journal-capacity.ts';

/** Cancels one attempt: at once if it has not started, otherwise by asking the runner to stop it. */
export function cancelAttempt(
  ledger: AgentLedger,
  jobId: string,
  attempt: number,
  eventFactory: EventFactory,
): AgentLedger {
  const job = ledger.jobs.get(jobKey(jobId, attempt));
  if (job?.state === 'running' && !job.cancelRequested) return putAgentJob(ledger, { ...job, cancelRequested: true });
  if (job?.state !== 'accepted') return ledger;
  const event = failureEvent('canceled', 'JOB_CANCELED', 'the job was canceled before it started');
  return appendEvent(ledger, job, eventFactory, 'finished', event);
}

/** Why this host does not accept a job; null if it does. */
export type Refuse = (spec: JobSpec) => WireError | null;

/** Journals the first event of an attempt: accepted, or rejected with the reason of this host. */
function receiveAttempt(ledger: AgentLedger, job: AgentJob, eventFactory: EventFactory, refuse: Refuse): AgentLedger {
  const error = refuse(job.spec);
  const noted = noteMintedId(ledger, job, eventFactory.now);
  return error === null
    ? appendEvent(noted, job, eventFactory, 'accepted', plainEvent('accepted'))
    : appendEvent(noted, job, eventFactory, 'finished', { type: 'rejected', error, result: null });
}

function acceptStart(
  ledger: AgentLedger,
  command: Extract<AgentCommand, { type: 'job.start' }>,
  eventFactory: EventFactory,
  refuse: Refuse,
): AgentLedger {
  const { jobId, attempt } = command;
  const others = [...ledger.jobs.values()].filter((job) => job.jobId === jobId);
  if (others.some((job) => job.attempt >= attempt)) return ledger;
  let next = ledger;
  // The control plane no longer waits for an older attempt that was created here and has not started.
  for (const job of others)
    if (job.state === 'accepted') next = dropEvents(putAgentJob(next, endedSilently(job, eventFactory.now)), job);
  return receiveAttempt(next, newAgentJob(command, attempt, false), eventFactory, refuse);
}

/**
 * Creates a job on this host, without the control plane. The caller journals the ledger before anything else happens; the
 * report brings the job to the control plane. `known`: the job was here before, so it changes nothing. `too-large`: its spec is
 * larger than LIMITS.specBytes. `full`: the journal is full of jobs that are not reported yet.
 */
export function createLocalJob(
  ledger: AgentLedger,
  description: Omit<JobDescription, 'createdAt'>,
  eventFactory: EventFactory,
  refuse: Refuse,
): { ledger: AgentLedger; value: 'created' | 'known' | 'too-large' | 'full' } {
  const { jobId, spec } = description;
  if (ledger.mintedIds.has(jobId)) return { ledger, value: 'known' };
  for (const job of ledger.jobs.values()) if (job.jobId === jobId) return { ledger, value: 'known' };
  if (sizeOf(spec) > LIMITS.specBytes) return { ledger, value: 'too-large' };
  const job = newAgentJob({ ...description, createdAt: eventFactory.now }, 1, true);
  const ready = makeCapacity(ledger, sizeOf(job));
  if (ready === null) return { ledger, value: 'full' };
  return { ledger: receiveAttempt(ready, job, eventFactory, refuse), value: 'created' };
}

/**
 * Takes one command. The caller journals the ledger and only then acknowledges `lastSeq`. A command that was taken before
 * changes nothing. Refused commands end the session, and the next hello asks for them again. `gap`: a command before this one is
 * missing. `full`: the journal is full of jobs that are not reported yet.
 */
export function acceptCommand(
  ledger: AgentLedger,
  command: AgentCommand,
  eventFactory: EventFactory,
  refuse: Refuse,
): { ledger: AgentLedger; refused: 'gap' | 'full' | null } {
  if (command.seq <= ledger.lastSeq) return { ledger, refused: null };
  if (command.seq !== ledger.lastSeq + 1) return { ledger, refused: 'gap' };
  const moved: AgentLedger = { ...ledger, lastSeq: command.seq };
  switch (command.type) {
    case 'job.start': {
      const ready = makeCapacity(moved, sizeOf(command));
      if (ready === null) return { ledger, refused: 'full' };
      return { ledger: acceptStart(ready, command, eventFactory, refuse), refused: null };
    }
    case 'job.cancel':
      return { ledger: cancelAttempt(moved, command.jobId, command.attempt, eventFactory), refused: null };
    case 'sched.set':
      return { ledger: adoptScheduleSet(moved, command.set, eventFactory.now), refused: null };
    case 'noop':
      return { ledger: moved, refused: null };
  }
}
