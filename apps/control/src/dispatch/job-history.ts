import type { Catalog } from '../catalog/catalog.ts';
import type { LedgerStore } from './ledger-store.ts';

/**
 * Ended jobs are kept this long, and longer while a backup of theirs is in the catalog. An agent keeps them for 30 days; here
 * it is more, so that no journal reports a job that was already removed here.
 */
const KEEP_ENDED_MS = 37 * 86_400_000;
const BATCH = 500;

/** Removes ended jobs from memory and catalog together; those of `jobIds` that did not end before `before` stay. */
async function removeJobs(
  ledgers: LedgerStore,
  agentId: string,
  jobIds: readonly string[],
  before: number,
): Promise<number> {
  return await ledgers.apply(agentId, (ledger) => {
    const gone = jobIds.filter((jobId) => (ledger.jobs.get(jobId)?.endedAt ?? 0) < before);
    const jobs = new Map(ledger.jobs);
    for (const jobId of gone) jobs.delete(jobId);
    return { ledger: { ...ledger, jobs }, value: gone.length, changes: [{ type: 'job.forget', jobIds: gone }] };
  });
}

/** Removes ended jobs whose time is over, batch by batch, so that others are served in between. Resolves with their number. */
export async function pruneJobHistory(ledgers: LedgerStore, catalog: Catalog, now: number): Promise<number> {
  const before = now - KEEP_ENDED_MS;
  let removed = 0;
  for (;;) {
    const batch = await catalog.jobs.forgettable(before, BATCH);
    let gone = 0;
    for (const [agentId, jobs] of Map.groupBy(batch, (job) => job.agentId)) {
      const jobIds = jobs.map((job) => job.jobId);
      gone += await removeJobs(ledgers, agentId, jobIds, before);
    }
    removed += gone;
    if (gone < BATCH) return removed;
  }
}
