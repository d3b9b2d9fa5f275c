import type { Catalog } from '../catalog/catalog.ts';

/**
 * Ended jobs are kept this long after their end was recorded, and longer while a backup of theirs is in the catalog. An agent keeps them for 30 days; here
 * it is more, so that no journal reports a job that was already removed here.
 */
const KEEP_ENDED_MS = 37 * 86_400_000;
const BATCH = 500;

/** Ended jobs of one host that are kept; of more, the oldest are forgotten before their time. */
const JOBS_PER_HOST = 200_000;

/**
 * Removes ended jobs whose time is over, or that are too many of one host, batch by batch, so that others are served in between.
 * Resolves with their number.
 */
export async function pruneJobHistory(
  catalog: Catalog,
  now: number,
  jobsPerHost: number = JOBS_PER_HOST,
): Promise<number> {
  let removed = 0;
  for (;;) {
    const over = await catalog.jobs.forgettable(now - KEEP_ENDED_MS, BATCH);
    const jobIds = over.length > 0 ? over : await catalog.jobs.excess(jobsPerHost, BATCH);
    if (jobIds.length === 0) return removed;
    await catalog.commit([{ type: 'job.forget', jobIds }]);
    removed += jobIds.length;
  }
}
