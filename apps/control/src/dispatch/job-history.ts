import type { Catalog } from '../catalog/catalog.ts';

/**
 * Ended jobs are kept this long after their end was recorded, and longer while a backup of theirs is in the catalog. An agent keeps them for 30 days; here
 * it is more, so that no journal reports a job that was already removed here.
 */
const KEEP_ENDED_MS = 37 * 86_400_000;
const BATCH = 500;

/** Removes ended jobs whose time is over, batch by batch, so that others are served in between. Resolves with their number. */
export async function pruneJobHistory(catalog: Catalog, now: number): Promise<number> {
  let removed = 0;
  for (;;) {
    const jobIds = await catalog.jobs.forgettable(now - KEEP_ENDED_MS, BATCH);
    if (jobIds.length > 0) await catalog.commit([{ type: 'job.forget', jobIds }]);
    removed += jobIds.length;
    if (jobIds.length < BATCH) return removed;
  }
}
