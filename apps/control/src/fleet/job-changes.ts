import { unreachable } from '@lastgood/core';
import { type ControlLedger, type JobResult, jobResultSchema } from '@lastgood/protocol';
import type { Change } from '../catalog/catalog.ts';

type BackupChange = Extract<Change, { type: 'backup' | 'verified' | 'removedBackups' }>;
const RANK: Record<BackupChange['type'], number> = { backup: 0, verified: 1, removedBackups: 2 };
const verdictAt = (change: BackupChange): number => (change.type === 'verified' ? Date.parse(change.verdict.at) : 0);

/** What a job that succeeded means for the catalog beyond its own row. */
function changeOf(agentId: string, result: JobResult): BackupChange | undefined {
  switch (result.command) {
    case 'backup':
      return { type: 'backup', agentId, backup: result.backup };
    case 'verify': {
      const verdict = { level: result.reached, at: result.at, passed: result.passed };
      return { type: 'verified', agentId, backupId: result.backupId, verdict };
    }
    case 'rotate': {
      const removed = result.decisions.filter(({ keep }) => !keep).map(({ backupId }) => backupId);
      return result.dryRun ? undefined : { type: 'removedBackups', agentId, backupIds: removed };
    }
    case 'plan':
    case 'restore':
    case 'undo':
      return undefined;
    default:
      return unreachable(result);
  }
}

/**
 * What the jobs that ended in a step mean for the catalog, in the order in which it must have happened. A hello after a restore
 * tells the jobs of a month at once, the newest first, and not when they ended. But a backup is taken before anything else can
 * become of it, verdicts carry the time of the host that gave them, and what was removed does not come back.
 */
export function changesOf(agentId: string, before: ControlLedger, after: ControlLedger): Change[] {
  const changes: BackupChange[] = [];
  for (const [jobId, job] of after.jobs) {
    if (before.jobs.get(jobId) === job || job.state !== 'succeeded') continue;
    const parsed = jobResultSchema.safeParse(job.result);
    const change = parsed.success ? changeOf(agentId, parsed.data) : undefined;
    if (change !== undefined) changes.push(change);
  }
  return changes.toSorted((one, other) => RANK[one.type] - RANK[other.type] || verdictAt(one) - verdictAt(other));
}
