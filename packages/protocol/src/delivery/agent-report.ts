import type { JobDescription } from '../jobs/description.ts';
import type { JobEvent } from '../jobs/event.ts';
import { LIMITS } from '../limits.ts';
import { type AgentJob, type AgentLedger, jobKey } from './agent-ledger.ts';
import { openSteps } from './agent-steps.ts';
import { boundedEvent, sizeOf } from './event-size.ts';

const REPORT_EVENTS = 256;

export function descriptionOf({ jobId, spec, origin, createdAt, startBy, deadlineMs }: JobDescription): JobDescription {
  return { jobId, spec, origin, createdAt, startBy, deadlineMs };
}

/** True if events of this attempt are still to be confirmed, or will come. */
export function isUnsettled(ledger: AgentLedger, job: AgentJob): boolean {
  const ofJob = (event: JobEvent): boolean => event.jobId === job.jobId && event.attempt === job.attempt;
  return job.state !== 'finished' || ledger.outbox.some(ofJob);
}

/**
 * The oldest unconfirmed events that fit into one report, in order; at least one if there is any. With the events of jobs that
 * this agent has created goes what these jobs are, every time: the control plane may have lost what it was sent before.
 */
export function reportBatch(
  ledger: AgentLedger,
  maxBytes: number = LIMITS.reportBytes,
): { events: JobEvent[]; jobs: JobDescription[] } {
  const events: JobEvent[] = [];
  const jobs = new Map<string, JobDescription>();
  let bytes = 0;
  // An older version of the agent wrote events of any size.
  for (const written of ledger.outbox.slice(0, REPORT_EVENTS)) {
    const event = boundedEvent(written);
    const job = ledger.jobs.get(jobKey(event.jobId, event.attempt));
    const described = job?.local === true && !jobs.has(job.jobId) ? descriptionOf(job) : undefined;
    bytes += sizeOf(event) + 1 + (described === undefined ? 0 : sizeOf(described) + 1);
    if (events.length > 0 && bytes > maxBytes) break;
    events.push(event);
    if (described !== undefined) jobs.set(described.jobId, described);
  }
  return { events, jobs: [...jobs.values()] };
}

/** Removes the events that the control plane has confirmed. */
export function confirmReported(ledger: AgentLedger, ids: readonly string[]): AgentLedger {
  const confirmed = new Set(ids);
  const outbox = ledger.outbox.filter((event) => !confirmed.has(event.id));
  return outbox.length === ledger.outbox.length ? ledger : { ...ledger, outbox };
}

/** How much longer than its job the id of a job is kept that this agent could create again. */
const KEEP_IDS_MS = 60 * 86_400_000;

/** Removes attempts that ended before `before` and leave nothing to report or to take back, and much later their ids. */
export function forgetFinished(ledger: AgentLedger, before: number): AgentLedger {
  const unreported = new Set(ledger.outbox.map((event) => jobKey(event.jobId, event.attempt)));
  const kept = [...ledger.jobs].filter(
    ([key, job]) =>
      job.finishedAt === null || job.finishedAt >= before || unreported.has(key) || openSteps(job).length > 0,
  );
  const ids = [...ledger.mintedIds].filter(([, at]) => at >= before - KEEP_IDS_MS);
  if (kept.length === ledger.jobs.size && ids.length === ledger.mintedIds.size) return ledger;
  return { ...ledger, jobs: new Map(kept), mintedIds: new Map(ids) };
}
