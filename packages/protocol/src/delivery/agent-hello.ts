import { MAX_BASE_SEQUENCE } from '../jobs/counters.ts';
import { jobSpecSchema } from '../jobs/spec.ts';
import { LIMITS } from '../limits.ts';
import type { HelloAnswer, HelloInput, JournalJob, KnownJob } from '../session/hello.ts';
import {
  appendEvent,
  dropEvents,
  endedSilently,
  failureEvent,
  newAgentJob,
  noteMintedId,
  putAgentJob,
} from './agent-events.ts';
import { type AgentJob, type AgentLedger, type EventFactory, jobKey } from './agent-ledger.ts';
import { descriptionOf, isUnsettled } from './agent-report.ts';
import { boundedError, boundedValue, sizeOf } from './event-size.ts';
import { contradicts } from './history.ts';

/** A hello must fit into one frame whatever the journal holds; the rest of the frame is for everything but jobs. */
const HELLO_BYTES = LIMITS.frameBytes - 32 * 1024;
/** An ended job repeats its result, for a catalog that was restored from a copy. Its lists were reported in full before. */
const OLD_RESULT_BYTES = 2 * 1024;

function journalJobOf(job: AgentJob, withOutcome: boolean): JournalJob {
  const { attempt, eventNumber, lastEventId, lastType, startedAt, finishedAt } = job;
  return {
    ...descriptionOf(job),
    attempt,
    eventNumber,
    lastEventId,
    lastType,
    open: job.state !== 'finished',
    running: job.state === 'running',
    startedAt,
    endedAt: finishedAt,
    error: withOutcome ? boundedError(job.error, OLD_RESULT_BYTES) : null,
    result: withOutcome ? boundedValue(job.result, OLD_RESULT_BYTES) : null,
  };
}

/**
 * The part of a hello that comes from the journal: what runs, waits or is unreported, then the newest of what has ended. The
 * outcome of an unreported job follows with its events, so many large results cannot keep the agent from connecting. Keep
 * `jobs` until the answer arrives: adoptHelloAnswer needs it.
 */
export function helloOf(ledger: AgentLedger): Pick<HelloInput, 'lastSeq' | 'incarnation' | 'schedules' | 'jobs'> {
  const unreported = new Set(ledger.outbox.map((event) => jobKey(event.jobId, event.attempt)));
  // A job that this agent does not understand was rejected; an older control plane would not understand it either (K10).
  const understood = [...ledger.jobs].filter(([, job]) => jobSpecSchema.safeParse(job.spec).success);
  const rankOf = (key: string, { state }: AgentJob): number =>
    state === 'running' ? 0 : state === 'accepted' ? 1 : unreported.has(key) ? 2 : 3;
  const ranked = understood.map(([key, job]) => ({ job, rank: rankOf(key, job) }));
  // An open or unreported job of this agent that is left out is adopted from its report; one of the control plane is not.
  const isLate = ({ job, rank }: (typeof ranked)[number]): number => (job.local && rank < 3 ? 1 : 0);
  ranked.sort((a, b) => a.rank - b.rank || isLate(a) - isLate(b) || (b.job.finishedAt ?? 0) - (a.job.finishedAt ?? 0));
  const jobs: JournalJob[] = [];
  let budgetBytes = HELLO_BYTES;
  for (const { job, rank } of ranked) {
    const line = journalJobOf(job, rank === 3);
    const bytes = sizeOf(line) + 1;
    // Of what has ended the newest without a gap; of everything else as many as fit.
    if (bytes > budgetBytes && rank === 3) break;
    if (bytes > budgetBytes) continue;
    budgetBytes -= bytes;
    jobs.push(line);
  }
  const { lastSeq, incarnation, schedules } = ledger;
  return { lastSeq, incarnation, schedules: schedules?.revision ?? null, jobs };
}

/** Replaces the history of an attempt with the control plane's version. Its own later events are dropped. */
function adoptControlVersion(ledger: AgentLedger, known: KnownJob, eventFactory: EventFactory): AgentLedger {
  const base: AgentJob = {
    ...newAgentJob(known, known.attempt, false),
    state: 'finished',
    eventNumber: known.lastEventNumber,
    lastEventId: known.lastEventId,
    // How it ended is no longer known here. What it changed outside has to be taken back all the same.
    finishedAt: eventFactory.now,
    steps: ledger.jobs.get(jobKey(known.jobId, known.attempt))?.steps ?? [],
  };
  const cleared = dropEvents(putAgentJob(noteMintedId(ledger, known, eventFactory.now), base), base);
  if (known.terminal) return cleared;
  const message = 'the journal of the host was set back while the job was open';
  return appendEvent(cleared, base, eventFactory, 'finished', failureEvent('interrupted', 'JOB_INTERRUPTED', message));
}

/** Ends the open attempts of a job that the control plane no longer waits for. */
function endOtherAttempts(ledger: AgentLedger, known: KnownJob, eventFactory: EventFactory): AgentLedger {
  let next = ledger;
  for (const job of ledger.jobs.values()) {
    if (job.jobId !== known.jobId || job.state === 'finished') continue;
    if (!(job.attempt < known.attempt || (job.attempt > known.attempt && known.terminal))) continue;
    next = dropEvents(putAgentJob(next, endedSilently(job, eventFactory.now)), job);
  }
  return next;
}

/** More commands than a host is sent between two copies of its journal. */
const MAX_SEQUENCE_JUMP = 2 ** 20;

/**
 * False for an answer whose sequence is out of reach: after it the numbers for commands would soon be used up, for every later
 * control plane as well. End the session without adopting it. A journal without a history accepts more.
 */
export function canAdopt(ledger: AgentLedger, answer: HelloAnswer): boolean {
  const seq = answer.reset?.seq ?? answer.merged?.baseSeq ?? ledger.lastSeq;
  return seq <= ledger.lastSeq + MAX_SEQUENCE_JUMP || (ledger.incarnation === null && seq <= MAX_BASE_SEQUENCE);
}

/**
 * Takes the answer to the hello whose jobs were `sentJobs`, if the journal can adopt it (canAdopt). An attempt that runs and is finished in the result must be stopped
 * before anything else starts; its own end changes nothing any more (finishJob leaves finished jobs alone).
 */
export function adoptHelloAnswer(
  ledger: AgentLedger,
  sentJobs: readonly JournalJob[],
  answer: HelloAnswer,
  eventFactory: EventFactory,
): AgentLedger {
  const lastSeq = answer.reset?.seq ?? answer.merged?.baseSeq ?? ledger.lastSeq;
  let next: AgentLedger = { ...ledger, incarnation: answer.incarnation, lastSeq, reconciled: true };
  for (const known of answer.reset?.jobs ?? []) {
    next = endOtherAttempts(next, known, eventFactory);
    const sent = sentJobs.find((job) => job.jobId === known.jobId && job.attempt === known.attempt);
    const own = ledger.jobs.get(jobKey(known.jobId, known.attempt));
    // It was left out of a full hello, not forgotten: its events will follow.
    if (sent === undefined && own !== undefined && isUnsettled(ledger, own)) continue;
    const missing = sent === undefined && known.dispatched;
    if (!missing && (sent === undefined || !contradicts(sent, known))) continue;
    if (missing && known.terminal) continue;
    next = adoptControlVersion(next, known, eventFactory);
  }
  return next;
}
