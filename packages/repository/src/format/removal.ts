import { dependentsOf, Failure, type ObjectStore } from '@lastgood/core';
import type { TargetRef } from '@lastgood/protocol';
import { forEachItem } from './for-each-item.ts';
import { readHold, readHolds } from './holds.ts';
import { newerFormat } from './manifest.ts';
import type { StoredBackups } from './stored-backups.ts';
import { purgeBackup, readTombstones, removeTombstone, writeTombstone } from './tombstones.ts';

const heldFailure = (backupId: string, reason: string): Failure =>
  new Failure('BACKUP_HELD', `backup ${backupId} is held: ${reason}`);

/**
 * Hides a backup behind a tombstone; returns the bytes that a purge will free. Refuses BACKUP_HELD, BACKUP_NEEDED when another backup
 * that is kept depends on it, and NEWER_FORMAT: whether others need it is for the version that wrote it to say.
 */
export async function removeBackup(
  store: ObjectStore,
  backups: StoredBackups,
  ref: TargetRef,
  backupId: string,
  now: number,
): Promise<number> {
  const { manifest, restorable } = await backups.manifest(ref, backupId);
  if (!restorable.ok) throw newerFormat(backupId, restorable.reason.params);
  const hold = await readHold(store, ref, backupId);
  if (hold !== undefined) throw heldFailure(backupId, hold.reason);
  const dependents = dependentsOf(backupId, (await backups.list(ref)).backups);
  if (dependents.length > 0)
    throw new Failure('BACKUP_NEEDED', `backup ${backupId} is needed by ${dependents.join(', ')}`);
  const storedBytes = manifest.objects.reduce((sum, object) => sum + object.stored.size, 0);
  const objects = manifest.objects.map((object) => object.name);
  await writeTombstone(store, ref, backupId, { removedAt: now, sequence: manifest.sequence, storedBytes, objects });
  // A concurrent hold checks for a tombstone after it is written, so one of the two sees the other.
  const late = await readHold(store, ref, backupId);
  if (late === undefined) return storedBytes;
  await removeTombstone(store, ref, backupId);
  throw heldFailure(backupId, late.reason);
}

/** Removes the bytes of backups whose tombstone is older than the grace; returns how many were freed. Never of a held backup. */
export async function purgeRemoved(store: ObjectStore, ref: TargetRef, now: number, graceMs: number): Promise<number> {
  let freed = 0;
  const holds = await readHolds(store, ref);
  await forEachItem(await readTombstones(store, ref), async ([backupId, tombstone]) => {
    if (tombstone instanceof Failure || now - tombstone.removedAt < graceMs || holds.has(backupId)) return;
    freed += await purgeBackup(store, ref, backupId, tombstone.objects);
  });
  return freed;
}
