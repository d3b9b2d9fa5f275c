import type { BackupSummary } from '@lastgood/protocol';
import type { StoredBackup } from './repository.ts';
import { candidatesOf } from './retention/candidates.ts';
import { suspectSizes } from './verification/verdict.ts';

/** The catalog's summary of a stored backup: bad after a failed verification. `summariesOf` also marks suspect sizes. */
export function summaryOf(stored: StoredBackup, repository: string): BackupSummary {
  const { manifest, manifestSha256, verified, restorable, remark, held } = stored;
  const sum = (side: 'produced' | 'stored'): number =>
    manifest.objects.reduce((total, object) => total + object[side].size, 0);
  return {
    backupId: manifest.backupId,
    target: manifest.target,
    repository,
    copies: [],
    engine: manifest.engine,
    method: manifest.method,
    sequence: manifest.sequence,
    jobId: manifest.jobId,
    startedAt: manifest.startedAt,
    recoveryPoint: manifest.recoveryPoint,
    finishedAt: manifest.finishedAt,
    contents: manifest.contents,
    dependsOn: manifest.dependsOn,
    restoreUnit: manifest.objects.some(({ contents }) => contents !== null) ? 'database' : 'server',
    restorable,
    producedBytes: sum('produced'),
    storedBytes: sum('stored'),
    manifestSha256,
    state: verified?.passed === false ? 'bad' : 'good',
    verified,
    hold: held,
    warnings: remark === undefined ? manifest.warnings : [...manifest.warnings, remark],
  };
}

/** The summaries of a target's backups, oldest first. A good backup is suspect when the size of any of its contents is. */
export function summariesOf(backups: readonly StoredBackup[], repository: string): BackupSummary[] {
  const groups = Map.groupBy(
    candidatesOf(backups).flatMap((backup) => backup.parts.map((part) => ({ ...backup, ...part }))),
    (member) => member.group,
  );
  const suspects = new Set(
    [...groups.values()].flatMap((group) =>
      suspectSizes(group).flatMap((suspect, index) => (suspect ? [group[index]?.backupId] : [])),
    ),
  );
  return backups.map((backup) => {
    const summary = summaryOf(backup, repository);
    return summary.state === 'good' && suspects.has(summary.backupId) ? { ...summary, state: 'suspect' } : summary;
  });
}
