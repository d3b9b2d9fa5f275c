import type { ErrorCode, WireError } from '../errors.ts';
import { wireErrorOf } from '../errors.ts';
import type { JobDescription } from '../jobs/description.ts';
import type { EventType, JobEvent } from '../jobs/event.ts';
import { classOf } from '../jobs/job-class.ts';
import { isMintedByAgents } from '../jobs/origin.ts';
import { LIMITS } from '../limits.ts';
import { type AgentJob, type AgentLedger, type EventFactory, jobKey } from './agent-ledger.ts';
import { boundedEvent } from './event-size.ts';

export interface EventContent {
  readonly type: EventType;
  readonly error: WireError | null;
  readonly result: JobEvent['result'];
}

export const plainEvent = (type: EventType): EventContent => ({ type, error: null, result: null });
export const failureEvent = (type: EventType, code: ErrorCode, message: string): EventContent => ({
  type,
  error: wireErrorOf(code, message),
  result: null,
});

/** An attempt without a history. */
export function newAgentJob(
  { jobId, spec, origin, createdAt, startBy, deadlineMs }: JobDescription,
  attempt: number,
  local: boolean,
): AgentJob {
  return {
    jobId,
    attempt,
    class: classOf(spec),
    spec,
    origin,
    createdAt,
    startBy,
    deadlineMs,
    local,
    state: 'accepted',
    cancelRequested: false,
    eventNumber: 0,
    lastEventId: null,
    lastType: null,
    error: null,
    result: null,
    startedAt: null,
    steps: [],
    finishedAt: null,
  };
}

/** Records the id of a job that this agent could create itself. */
export function noteMintedId(
  ledger: AgentLedger,
  { jobId, origin }: Pick<JobDescription, 'jobId' | 'origin'>,
  now: number,
): AgentLedger {
  if (!isMintedByAgents(origin) || ledger.mintedIds.has(jobId)) return ledger;
  const mintedIds = new Map(ledger.mintedIds).set(jobId, now);
  // The oldest are the first. Their occurrences are long past.
  for (const oldest of mintedIds.keys()) {
    if (mintedIds.size <= LIMITS.mintedIds) break;
    mintedIds.delete(oldest);
  }
  return { ...ledger, mintedIds };
}

export function putAgentJob(ledger: AgentLedger, job: AgentJob): AgentLedger {
  return { ...ledger, jobs: new Map(ledger.jobs).set(jobKey(job.jobId, job.attempt), job) };
}

/** The end of an attempt that the control plane no longer waits for: without an event. */
export const endedSilently = (job: AgentJob, now: number): AgentJob => ({
  ...job,
  state: 'finished',
  lastType: null,
  finishedAt: now,
});

/** Removes the unconfirmed events of one attempt. */
export function dropEvents(ledger: AgentLedger, { jobId, attempt }: Pick<AgentJob, 'jobId' | 'attempt'>): AgentLedger {
  const outbox = ledger.outbox.filter((event) => event.jobId !== jobId || event.attempt !== attempt);
  return outbox.length === ledger.outbox.length ? ledger : { ...ledger, outbox };
}

/** Appends one event, bounded in size, to the job and to the outbox, chained to the event before it. */
export function appendEvent(
  ledger: AgentLedger,
  job: AgentJob,
  eventFactory: EventFactory,
  state: AgentJob['state'],
  content: EventContent,
): AgentLedger {
  const id = eventFactory.eventId();
  const eventNumber = job.eventNumber + 1;
  const event: JobEvent = boundedEvent({
    id,
    previousEventId: job.lastEventId,
    jobId: job.jobId,
    attempt: job.attempt,
    eventNumber,
    type: content.type,
    at: eventFactory.now,
    error: content.error,
    result: content.result,
  });
  const next: AgentJob = {
    ...job,
    state,
    eventNumber,
    lastEventId: id,
    lastType: content.type,
    error: event.error,
    result: event.result,
    startedAt: content.type === 'running' ? eventFactory.now : job.startedAt,
    finishedAt: state === 'finished' ? eventFactory.now : null,
  };
  return { ...putAgentJob(ledger, next), outbox: [...ledger.outbox, event] };
}
