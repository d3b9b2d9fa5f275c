import type { ErrorCode, WireError } from '../errors.ts';
import { wireErrorOf } from '../errors.ts';
import type { EventType, JobEvent } from '../jobs/event.ts';
import { classOf, type JobSpec } from '../jobs/spec.ts';
import { LIMITS } from '../limits.ts';
import type { AgentCommand } from '../session/command.ts';
import type { HelloAnswer, JournalJob, KnownJob } from '../session/hello.ts';
import { isUnsettled } from './agent-hello.ts';
import {
  type AcceptDecision,
  type AgentJob,
  type AgentLedger,
  type EventFactory,
  type JobOutcome,
  jobKey,
} from './agent-ledger.ts';
import { boundedEvent, sizeOf } from './event-size.ts';
import { contradicts } from './history.ts';

export { helloOf } from './agent-hello.ts';

type Stop = { jobId: string; attempt: number };
const REPORT_EVENTS = 256;

function put(ledger: AgentLedger, job: AgentJob): AgentLedger {
  return { ...ledger, jobs: new Map(ledger.jobs).set(jobKey(job.jobId, job.attempt), job) };
}

/** Appends one event, within its limit, to the job and to the outbox, chained to the event before. */
function append(
  ledger: AgentLedger,
  job: AgentJob,
  eventFactory: EventFactory,
  state: AgentJob['state'],
  event: { type: EventType; error: WireError | null; result: JobEvent['result'] },
): AgentLedger {
  const id = eventFactory.eventId();
  const eventNumber = job.eventNumber + 1;
  const line: JobEvent = boundedEvent({
    id,
    previousEventId: job.lastEventId,
    jobId: job.jobId,
    attempt: job.attempt,
    eventNumber,
    type: event.type,
    at: eventFactory.now,
    error: event.error,
    result: event.result,
  });
  const next: AgentJob = {
    ...job,
    state,
    eventNumber,
    lastEventId: id,
    lastType: event.type,
    error: line.error,
    result: line.result,
    finishedAt: state === 'finished' ? eventFactory.now : null,
  };
  return { ...put(ledger, next), outbox: [...ledger.outbox, line] };
}

const bare = (type: EventType) => ({ type, error: null, result: null });
const failed = (type: EventType, code: ErrorCode, message: string) => ({
  type,
  error: wireErrorOf(code, message),
  result: null,
});
const interrupted = (message: string) => failed('interrupted', 'JOB_INTERRUPTED', message);

/** Ends an attempt that the control plane knows better: its own later events are dropped, its process is to be stopped. */
function yieldTo(ledger: AgentLedger, known: KnownJob, eventFactory: EventFactory): AgentLedger {
  const key = jobKey(known.jobId, known.attempt);
  const base: AgentJob = {
    jobId: known.jobId,
    attempt: known.attempt,
    class: classOf(known.spec),
    spec: known.spec,
    startBy: known.startBy,
    deadlineMs: known.deadlineMs,
    state: 'finished',
    eventNumber: known.lastEventNumber,
    lastEventId: known.lastEventId,
    // How it ended is not known here any more.
    lastType: null,
    error: null,
    result: null,
    finishedAt: eventFactory.now,
  };
  const others = ledger.outbox.filter((event) => jobKey(event.jobId, event.attempt) !== key);
  const cleared = { ...put(ledger, base), outbox: others };
  if (known.terminal) return cleared;
  return append(
    cleared,
    base,
    eventFactory,
    'finished',
    interrupted('the journal of the host was set back while the job was open'),
  );
}

/** Ends open attempts of the job other than the control plane's; nobody waits for their events any more. */
function endOthers(
  ledger: AgentLedger,
  known: KnownJob,
  eventFactory: EventFactory,
): { ledger: AgentLedger; ended: Stop[] } {
  const ended: Stop[] = [];
  let next = ledger;
  for (const [key, job] of ledger.jobs) {
    const { jobId, attempt } = job;
    const mine = jobId === known.jobId && job.state !== 'finished';
    if (!mine || !(attempt < known.attempt || (attempt > known.attempt && known.terminal))) continue;
    ended.push({ jobId, attempt });
    const outbox = next.outbox.filter((event) => jobKey(event.jobId, event.attempt) !== key);
    next = { ...put(next, { ...job, state: 'finished', lastType: null, finishedAt: eventFactory.now }), outbox };
  }
  return { ledger: next, ended };
}

/**
 * Takes the answer to the hello whose jobs were `sentJobs`. Stops must be carried out before anything else is started; the
 * stopped processes' ends change nothing any more (finishJob leaves finished jobs alone).
 */
export function adoptHelloAnswer(
  ledger: AgentLedger,
  sentJobs: readonly JournalJob[],
  answer: HelloAnswer,
  runningKeys: ReadonlySet<string>,
  eventFactory: EventFactory,
): { ledger: AgentLedger; stop: Stop[] } {
  const lastSeq = answer.reset?.seq ?? answer.merged?.baseSeq ?? ledger.lastSeq;
  let next: AgentLedger = { ...ledger, incarnation: answer.incarnation, lastSeq };
  const touched: Stop[] = [];
  for (const known of answer.reset?.jobs ?? []) {
    const others = endOthers(next, known, eventFactory);
    next = others.ledger;
    touched.push(...others.ended);
    const told = sentJobs.find((job) => job.jobId === known.jobId && job.attempt === known.attempt);
    const own = ledger.jobs.get(jobKey(known.jobId, known.attempt));
    // It was left out of a full hello, not forgotten: its events will tell.
    if (told === undefined && own !== undefined && isUnsettled(ledger, own)) continue;
    const missing = told === undefined && known.dispatched;
    if (!missing && (told === undefined || !contradicts(told, known))) continue;
    if (missing && known.terminal) continue;
    next = yieldTo(next, known, eventFactory);
    touched.push({ jobId: known.jobId, attempt: known.attempt });
  }
  return { ledger: next, stop: touched.filter(({ jobId, attempt }) => runningKeys.has(jobKey(jobId, attempt))) };
}

/** Cancels one attempt, from a command or from a heartbeat's answer: at once when it has not begun, else `stop` names it. */
export function cancelAttempt(
  ledger: AgentLedger,
  jobId: string,
  attempt: number,
  eventFactory: EventFactory,
): AcceptDecision {
  const job = ledger.jobs.get(jobKey(jobId, attempt));
  if (job?.state === 'running') return { ledger, stop: { jobId, attempt }, gap: false };
  if (job?.state !== 'accepted') return { ledger, stop: null, gap: false };
  const event = failed('canceled', 'JOB_CANCELED', 'the job was canceled before it began');
  return { ledger: append(ledger, job, eventFactory, 'finished', event), stop: null, gap: false };
}

/**
 * Takes one command. The caller journals the ledger and only then acknowledges `lastSeq`. A command that was taken before
 * changes nothing; `gap` means that one is missing before it: close the session, the next hello asks for it again.
 */
export function acceptCommand(
  ledger: AgentLedger,
  command: AgentCommand,
  eventFactory: EventFactory,
  refuse: (spec: JobSpec) => WireError | null,
): AcceptDecision {
  if (command.seq <= ledger.lastSeq) return { ledger, stop: null, gap: false };
  if (command.seq !== ledger.lastSeq + 1) return { ledger, stop: null, gap: true };
  const moved: AgentLedger = { ...ledger, lastSeq: command.seq };
  if (command.type === 'noop') return { ledger: moved, stop: null, gap: false };
  if (command.type === 'job.cancel') return cancelAttempt(moved, command.jobId, command.attempt, eventFactory);
  const { jobId, attempt, spec, startBy, deadlineMs } = command;
  const known = [...ledger.jobs.values()].some((job) => job.jobId === jobId && job.attempt >= attempt);
  if (known) return { ledger: moved, stop: null, gap: false };
  const job: AgentJob = {
    jobId,
    attempt,
    class: classOf(spec),
    spec,
    startBy,
    deadlineMs,
    state: 'accepted',
    eventNumber: 0,
    lastEventId: null,
    lastType: null,
    error: null,
    result: null,
    finishedAt: null,
  };
  const error = refuse(spec);
  const next =
    error === null
      ? append(moved, job, eventFactory, 'accepted', bare('accepted'))
      : append(moved, job, eventFactory, 'finished', { type: 'rejected', error, result: null });
  return { ledger: next, stop: null, gap: false };
}

/**
 * The attempts that may begin now, oldest first: at most one per target, none for a target where one runs. Empty is right
 * as long as no hello was answered since the process began: the journal may be an old copy.
 */
export function startableJobs(ledger: AgentLedger): AgentJob[] {
  const all = [...ledger.jobs.values()];
  const busy = new Set(all.filter((job) => job.state === 'running').map((job) => job.spec.target));
  return all.filter((job) => {
    if (job.state !== 'accepted' || busy.has(job.spec.target)) return false;
    busy.add(job.spec.target);
    return true;
  });
}

/**
 * What to do with an accepted job. `grant` is `valid` only while the grant's time, counted from SENDING the question on a
 * monotonic clock, is not over; then ask again with the same nonce. After `expire` finish it with expiredOutcome or, when a
 * grant was denied, with deniedOutcome.
 */
export function nextStep(
  job: AgentJob,
  { now, grant }: { now: number; grant: 'valid' | 'denied' | 'none' },
): 'run' | 'ask' | 'expire' {
  if (now > job.startBy || grant === 'denied') return 'expire';
  if (job.class === 'safe' || grant === 'valid') return 'run';
  return 'ask';
}

export const expiredOutcome: JobOutcome = {
  type: 'expired',
  error: wireErrorOf('JOB_EXPIRED', 'the job could not begin before its start-by time'),
  result: null,
};

/** How a job ends whose begin was denied, by the control plane's reason. */
export function deniedOutcome(reason: string): JobOutcome {
  if (reason === 'expired') return expiredOutcome;
  if (reason === 'canceled') {
    return {
      type: 'canceled',
      error: wireErrorOf('JOB_CANCELED', 'the job was canceled before it began'),
      result: null,
    };
  }
  if (reason === 'holds') {
    const message = 'a backup was held after this rotation had been sent; nothing was removed';
    return { type: 'failed', error: wireErrorOf('CONFLICT', message), result: null };
  }
  const message = `the control plane did not allow the job to begin (${reason}); it was not started by this attempt`;
  return { type: 'failed', error: wireErrorOf('JOB_INTERRUPTED', message), result: null };
}

/** To be journaled BEFORE the first effect. Anything but an accepted attempt stays as it is: then nothing may be started. */
export function markRunning(ledger: AgentLedger, key: string, eventFactory: EventFactory): AgentLedger {
  const job = ledger.jobs.get(key);
  return job?.state === 'accepted' ? append(ledger, job, eventFactory, 'running', bare('running')) : ledger;
}

/** Ends an attempt; one that has ended already stays as it is. */
export function finishJob(
  ledger: AgentLedger,
  key: string,
  outcome: JobOutcome,
  eventFactory: EventFactory,
): AgentLedger {
  const job = ledger.jobs.get(key);
  return job === undefined || job.state === 'finished'
    ? ledger
    : append(ledger, job, eventFactory, 'finished', outcome);
}

/** At the start of the process, when nothing runs any more: what was running is never run again, it is reported. */
export function recoverAfterCrash(ledger: AgentLedger, eventFactory: EventFactory): AgentLedger {
  let next = ledger;
  for (const job of ledger.jobs.values()) {
    if (job.state !== 'running') continue;
    next = append(next, job, eventFactory, 'finished', interrupted('the agent stopped while the job ran'));
  }
  return next;
}

/** The oldest unconfirmed events that fit into one report, in order; at least one when there is any. */
export function reportBatch(ledger: AgentLedger, maxBytes: number = LIMITS.reportBytes): JobEvent[] {
  const batch: JobEvent[] = [];
  let bytes = 0;
  // An older version of the agent wrote events of any size.
  for (const written of ledger.outbox.slice(0, REPORT_EVENTS)) {
    const event = boundedEvent(written);
    bytes += sizeOf(event) + 1;
    if (batch.length > 0 && bytes > maxBytes) break;
    batch.push(event);
  }
  return batch;
}

/** Forgets the events that the control plane has confirmed. */
export function confirmReported(ledger: AgentLedger, ids: readonly string[]): AgentLedger {
  const gone = new Set(ids);
  const outbox = ledger.outbox.filter((event) => !gone.has(event.id));
  return outbox.length === ledger.outbox.length ? ledger : { ...ledger, outbox };
}

/** Forgets attempts that ended before `before` and whose events are all confirmed. */
export function forgetFinished(ledger: AgentLedger, before: number): AgentLedger {
  const unreported = new Set(ledger.outbox.map((event) => jobKey(event.jobId, event.attempt)));
  const kept = [...ledger.jobs].filter(
    ([key, job]) => job.finishedAt === null || job.finishedAt >= before || unreported.has(key),
  );
  return kept.length === ledger.jobs.size ? ledger : { ...ledger, jobs: new Map(kept) };
}
