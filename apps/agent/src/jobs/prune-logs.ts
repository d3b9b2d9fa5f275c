import { type Failure, isFromTrustedHost, oldestNeededSegments, type Repository } from '@lastgood/core';
import type { Manifest, TargetRef } from '@lastgood/protocol';

/**
 * Removes the log segments before the oldest one that a backup of the target needs; backups that were removed and can still be brought back
 * count. Returns the number of segments. While a backup cannot be read, nothing is removed: it may need any of them.
 */
export async function pruneLogs(
  repository: Repository,
  ref: TargetRef,
  isKept: (segment: string) => boolean,
): Promise<number> {
  const { backups, broken } = await repository.list(ref);
  if (broken.length > 0) return 0;
  const manifests: Manifest[] = backups.filter(isFromTrustedHost).map(({ manifest }) => manifest);
  for (const backupId of await repository.removed(ref)) {
    const removed = await repository.read(ref, backupId).catch((error: Failure) => {
      // Its purge was interrupted: the manifest goes first.
      if (error.code === 'NOT_FOUND') return null;
      throw error;
    });
    if (removed !== null && isFromTrustedHost(removed)) manifests.push(removed.manifest);
  }
  let count = 0;
  for (const [streamId, oldest] of oldestNeededSegments(manifests))
    count += await repository.log(ref, streamId).removeBefore(oldest, isKept);
  return count;
}
