import { LIMITS } from '../limits.ts';
import { type AgentJob, type AgentLedger, jobKey } from './agent-ledger.ts';
import { openSteps } from './agent-steps.ts';
import { sizeOf } from './event-size.ts';

/** Records are replaced, never changed, so each is measured once. */
const measured = new WeakMap<object, number>();
function bytesOf(record: object): number {
  const bytes = measured.get(record) ?? sizeOf(record);
  measured.set(record, bytes);
  return bytes;
}
/** A full journal loses more than one record at once, so that not every command has to look for one. */
const TARGET_FILL = 7 / 8;

export interface JournalLimits {
  readonly jobs: number;
  readonly bytes: number;
}
const DEFAULT_LIMITS: JournalLimits = { jobs: LIMITS.journalJobs, bytes: LIMITS.journalBytes };

/** Rejected jobs have changed nothing, so they are forgotten first; then the oldest. */
const byImportance = (a: AgentJob, b: AgentJob): number =>
  Number(b.lastType === 'rejected') - Number(a.lastType === 'rejected') || (a.finishedAt ?? 0) - (b.finishedAt ?? 0);

/**
 * Makes the journal able to hold one more job of `bytes`: forgets ended jobs that leave nothing to report or to take back. Null: it
 * is full of jobs that must not be forgotten. Within its limits a journal is returned as it is.
 */
export function makeCapacity(
  ledger: AgentLedger,
  bytes: number,
  limits: JournalLimits = DEFAULT_LIMITS,
): AgentLedger | null {
  let usedBytes = bytes;
  for (const job of ledger.jobs.values()) usedBytes += bytesOf(job);
  for (const event of ledger.outbox) usedBytes += bytesOf(event);
  let count = ledger.jobs.size + 1;
  if (count <= limits.jobs && usedBytes <= limits.bytes) return ledger;
  const unreported = new Set(ledger.outbox.map((event) => jobKey(event.jobId, event.attempt)));
  const forgettable = [...ledger.jobs]
    .filter(([key, job]) => job.state === 'finished' && !unreported.has(key) && openSteps(job).length === 0)
    .toSorted(([, a], [, b]) => byImportance(a, b));
  const jobs = new Map(ledger.jobs);
  for (const [key, job] of forgettable) {
    if (count <= limits.jobs * TARGET_FILL && usedBytes <= limits.bytes * TARGET_FILL) break;
    jobs.delete(key);
    count -= 1;
    usedBytes -= bytesOf(job);
  }
  return count <= limits.jobs && usedBytes <= limits.bytes ? { ...ledger, jobs } : null;
}
