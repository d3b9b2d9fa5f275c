import { jobSpecSchema } from '../jobs/spec.ts';
import { LIMITS } from '../limits.ts';
import type { JournalJob } from '../session/hello.ts';
import { type AgentJob, type AgentLedger, jobKey } from './agent-ledger.ts';
import { boundedError, boundedValue, sizeOf } from './event-size.ts';

/** A hello must fit into one frame, whatever the journal holds; the rest of the frame is for what is not a job. */
const HELLO_BYTES = LIMITS.frameBytes - 32 * 1024;
/** An ended job tells its result once more, for a catalog that was restored from a copy; the lists of it were told before. */
const OLD_RESULT_BYTES = 2 * 1024;

function journalJobOf(job: AgentJob, withOutcome: boolean): JournalJob {
  const { jobId, attempt, eventNumber, lastEventId, lastType, spec, startBy, deadlineMs } = job;
  const open = job.state !== 'finished';
  const running = job.state === 'running';
  const error = withOutcome ? boundedError(job.error, OLD_RESULT_BYTES) : null;
  const result = withOutcome ? boundedValue(job.result, OLD_RESULT_BYTES) : null;
  return {
    jobId,
    attempt,
    eventNumber,
    lastEventId,
    lastType,
    open,
    running,
    spec,
    startBy,
    deadlineMs,
    error,
    result,
  };
}

/** True when events of this attempt are still to be confirmed, or will come. */
export function isUnsettled(ledger: AgentLedger, job: AgentJob): boolean {
  const mine = (event: { jobId: string; attempt: number }): boolean =>
    event.jobId === job.jobId && event.attempt === job.attempt;
  return job.state !== 'finished' || ledger.outbox.some(mine);
}

/**
 * What the agent tells of its journal in the hello: what runs, waits or is unreported, then the newest of what has ended. How an
 * unreported job ended follows with its events, so that many large results cannot keep the agent from connecting. Keep `jobs`
 * until the answer is there: adoptHelloAnswer needs it.
 */
export function helloOf(ledger: AgentLedger): { lastSeq: number; incarnation: string | null; jobs: JournalJob[] } {
  const unreported = new Set(ledger.outbox.map((event) => jobKey(event.jobId, event.attempt)));
  // A job that this agent does not understand was rejected; an older control plane would not understand it either (K10).
  const understood = [...ledger.jobs].filter(([, job]) => jobSpecSchema.safeParse(job.spec).success);
  const rankOf = (key: string, { state }: AgentJob): number =>
    state === 'running' ? 0 : state === 'accepted' ? 1 : unreported.has(key) ? 2 : 3;
  const ranked = understood.map(([key, job]) => ({ job, rank: rankOf(key, job) }));
  ranked.sort((a, b) => a.rank - b.rank || (b.job.finishedAt ?? 0) - (a.job.finishedAt ?? 0));
  const jobs: JournalJob[] = [];
  let room = HELLO_BYTES;
  for (const { job, rank } of ranked) {
    const line = journalJobOf(job, rank === 3);
    const bytes = sizeOf(line) + 1;
    // Of what has ended the newest without a gap; of all else as many as fit.
    if (bytes > room && rank === 3) break;
    if (bytes > room) continue;
    room -= bytes;
    jobs.push(line);
  }
  return { lastSeq: ledger.lastSeq, incarnation: ledger.incarnation, jobs };
}
