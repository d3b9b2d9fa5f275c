import type { StoredBackup } from '@lastgood/core';
import type { BackupSummary } from '@lastgood/protocol';

/** The short facts of a stored backup as the catalog keeps them. A failed verification makes it bad; size suspicion is judged elsewhere. */
export function summaryOf(stored: StoredBackup, repository: string): BackupSummary {
  const { manifest, manifestSha256, verified, remark } = stored;
  const sum = (side: 'produced' | 'stored'): number =>
    manifest.objects.reduce((total, object) => total + object[side].size, 0);
  const databases = manifest.objects.filter((object) => object.role === 'dump').map((object) => object.database ?? '');
  return {
    backupId: manifest.backupId,
    target: manifest.target,
    repository,
    engine: manifest.engine,
    kind: manifest.kind,
    sequence: manifest.sequence,
    jobId: manifest.jobId,
    startedAt: manifest.startedAt,
    snapshotAt: manifest.snapshotAt,
    finishedAt: manifest.finishedAt,
    databases,
    producedBytes: sum('produced'),
    storedBytes: sum('stored'),
    manifestSha256,
    state: verified?.passed === false ? 'bad' : 'good',
    verified,
    warnings: remark === undefined ? manifest.warnings : [...manifest.warnings, remark],
  };
}
