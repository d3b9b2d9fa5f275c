import type { BackupSummary } from '@lastgood/protocol';
import { aBackupSummary } from '@lastgood/testkit';

/** A good backup of the target `shop`, as its agent would announce it. */
export const summary = (jobId: string, more: Partial<BackupSummary> = {}): BackupSummary =>
  aBackupSummary({ jobId, ...more });
