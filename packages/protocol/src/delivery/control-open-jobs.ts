import type { ControlJob, ControlLedger } from './control-ledger.ts';
import { isTerminal } from './control-settle.ts';

/** The ids that a decision needs and the ledger does not hold. They are unknown, or their jobs have ended. */
export function missingJobIds(ledger: ControlLedger, jobIds: Iterable<string>): string[] {
  return [...new Set(jobIds)].filter((jobId) => !ledger.jobs.has(jobId));
}

/** The ledger with the ended jobs that a message names, read from the catalog. Jobs that it holds already stay as they are. */
export function withEndedJobs(ledger: ControlLedger, ended: readonly ControlJob[]): ControlLedger {
  const added = ended.filter(({ jobId }) => !ledger.jobs.has(jobId));
  if (added.length === 0) return ledger;
  const jobs = new Map(ledger.jobs);
  for (const job of added) jobs.set(job.jobId, job);
  return { ...ledger, jobs };
}

/** The ledger as it is kept in memory: ended jobs are in the catalog alone. */
export function withoutEndedJobs(ledger: ControlLedger): ControlLedger {
  const open = [...ledger.jobs].filter(([, job]) => !isTerminal(job));
  return open.length === ledger.jobs.size ? ledger : { ...ledger, jobs: new Map(open) };
}
