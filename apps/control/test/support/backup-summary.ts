import { randomUUID } from 'node:crypto';
import type { BackupSummary } from '@lastgood/protocol';

/** A good backup of the target `shop`, as its agent would announce it. */
export const summary = (jobId: string, more: Partial<BackupSummary> = {}): BackupSummary => ({
  backupId: randomUUID(),
  target: 'shop',
  repository: 'local',
  engine: 'postgres',
  kind: 'logical',
  sequence: 1,
  jobId,
  startedAt: '2026-01-15T12:00:00Z',
  snapshotAt: '2026-01-15T12:00:00Z',
  finishedAt: '2026-01-15T12:00:01Z',
  databases: ['shop'],
  producedBytes: 1,
  storedBytes: 1,
  manifestSha256: '0'.repeat(64),
  state: 'good',
  verified: null,
  warnings: [],
  ...more,
});
