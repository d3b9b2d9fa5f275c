import type { WireError } from '../errors.ts';
import { classOf, type JobSpec } from '../jobs/spec.ts';
import type { AgentCommand } from '../session/command.ts';
import { appendEvent, failureEvent, plainEvent, putAgentJob } from './agent-events.ts';
import { type AgentJob, type AgentLedger, type EventFactory, jobKey } from './agent-ledger.ts';

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

function acceptStart(
  ledger: AgentLedger,
  { jobId, attempt, spec, startBy, deadlineMs }: Extract<AgentCommand, { type: 'job.start' }>,
  eventFactory: EventFactory,
  refuse: (spec: JobSpec) => WireError | null,
): AgentLedger {
  for (const job of ledger.jobs.values()) if (job.jobId === jobId && job.attempt >= attempt) return ledger;
  const job: AgentJob = {
    jobId,
    attempt,
    class: classOf(spec),
    spec,
    startBy,
    deadlineMs,
    state: 'accepted',
    cancelRequested: false,
    eventNumber: 0,
    lastEventId: null,
    lastType: null,
    error: null,
    result: null,
    finishedAt: null,
  };
  const error = refuse(spec);
  return error === null
    ? appendEvent(ledger, job, eventFactory, 'accepted', plainEvent('accepted'))
    : appendEvent(ledger, job, eventFactory, 'finished', { type: 'rejected', error, result: null });
}

/**
 * Takes one command. The caller journals the ledger and only then acknowledges `lastSeq`. A command that was taken before
 * changes nothing. `gap`: a command before this one is missing; close the session, the next hello asks for it again.
 */
export function acceptCommand(
  ledger: AgentLedger,
  command: AgentCommand,
  eventFactory: EventFactory,
  refuse: (spec: JobSpec) => WireError | null,
): { ledger: AgentLedger; gap: boolean } {
  if (command.seq <= ledger.lastSeq) return { ledger, gap: false };
  if (command.seq !== ledger.lastSeq + 1) return { ledger, gap: true };
  const moved: AgentLedger = { ...ledger, lastSeq: command.seq };
  switch (command.type) {
    case 'job.start':
      return { ledger: acceptStart(moved, command, eventFactory, refuse), gap: false };
    case 'job.cancel':
      return { ledger: cancelAttempt(moved, command.jobId, command.attempt, eventFactory), gap: false };
    case 'noop':
      return { ledger: moved, gap: false };
  }
}
