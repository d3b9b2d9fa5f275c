import type { Catalog } from '../catalog/catalog.ts';
import type { Fleet } from './fleet.ts';

/**
 * Ended jobs are kept this long, and longer while a backup of theirs is in the catalog. An agent keeps them for 30 days; here
 * it is more, so that its journal does not tell of one that was forgotten.
 */
export const KEEP_ENDED_MS = 37 * 86_400_000;
const BATCH = 500;

/** Forgets ended jobs that are older, batch by batch, so that others are served in between. Resolves with how many went. */
export async function pruneJobHistory(fleet: Fleet, catalog: Catalog, now: number): Promise<number> {
  const before = now - KEEP_ENDED_MS;
  let forgotten = 0;
  for (;;) {
    const batch = await catalog.forgettableJobs(before, BATCH);
    let gone = 0;
    for (const [agentId, jobs] of Map.groupBy(batch, (job) => job.agentId)) {
      const jobIds = jobs.map((job) => job.jobId);
      gone += await fleet.forgetJobs(agentId, jobIds, before);
    }
    forgotten += gone;
    if (gone < BATCH) return forgotten;
  }
}
