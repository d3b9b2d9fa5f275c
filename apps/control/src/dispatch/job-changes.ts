import { unreachable } from '@lastgood/core';
import { type ControlLedger, type JobResult, jobResultSchema } from '@lastgood/protocol';
import type { BackupChange } from '../catalog/backup-changes.ts';

type ResultChange = Extract<
  BackupChange,
  { type: 'backup.taken' | 'backup.verified' | 'backup.held' | 'backup.removed' }
>;
const RANK: Record<ResultChange['type'], number> = {
  'backup.taken': 0,
  'backup.verified': 1,
  'backup.held': 2,
  'backup.removed': 3,
};
const verdictAt = (change: ResultChange): number =>
  change.type === 'backup.verified' ? Date.parse(change.verdict.at) : 0;

/** What a job that succeeded means for the catalog beyond its own row. */
function changeOf(agentId: string, result: JobResult): ResultChange | undefined {
  switch (result.command) {
    case 'backup':
      return { type: 'backup.taken', agentId, backup: result.backup };
    case 'verify': {
      // The verdict on a copy is the business of the next inventory.
      if (result.repository !== undefined) return undefined;
      const verdict = { level: result.reached, at: result.at, passed: result.passed };
      return { type: 'backup.verified', agentId, backupId: result.backupId, verdict };
    }
    case 'rotate': {
      const removed = result.decisions.filter(({ keep }) => !keep).map(({ backupId }) => backupId);
      return result.dryRun ? undefined : { type: 'backup.removed', agentId, backupIds: removed };
    }
    case 'hold':
      return { type: 'backup.held', agentId, backupId: result.backupId, hold: result.hold };
    case 'release':
      return { type: 'backup.held', agentId, backupId: result.backupId, hold: null };
    case 'check':
    case 'copy':
    case 'hook':
    case 'drop-set-aside':
    case 'list-contents':
    case 'plan':
    case 'restore':
    case 'plan-undo':
    case 'undo':
      return undefined;
    default:
      return unreachable(result);
  }
}

/**
 * What the jobs that ended in a step mean for the catalog, in the order in which it must have happened. A hello after a restore
 * reports the jobs of a month at once, the newest first. But a backup is taken before anything else happens to it, verdicts carry
 * the time of the host that gave them, and what was removed does not come back.
 */
export function changesOf(agentId: string, before: ControlLedger, after: ControlLedger): ResultChange[] {
  const changes: ResultChange[] = [];
  for (const [jobId, job] of after.jobs) {
    if (before.jobs.get(jobId) === job || job.state !== 'succeeded') continue;
    const parsed = jobResultSchema.safeParse(job.result);
    const change = parsed.success ? changeOf(agentId, parsed.data) : undefined;
    if (change !== undefined) changes.push(change);
  }
  return changes.toSorted((one, other) => RANK[one.type] - RANK[other.type] || verdictAt(one) - verdictAt(other));
}
