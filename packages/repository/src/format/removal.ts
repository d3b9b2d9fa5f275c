import { dependentsOf, Failure, type LockedBackup, type ObjectStore } from '@lastgood/core';
import type { TargetRef } from '@lastgood/protocol';
import { forEachItem } from './for-each-item.ts';
import { readHold, readHolds } from './holds.ts';
import { lockedUntil } from './locks.ts';
import { notRestorable } from './manifest.ts';
import type { StoredBackups } from './stored-backups.ts';
import { purgeBackup, readTombstones, removeTombstone, writeTombstone } from './tombstones.ts';

const heldFailure = (backupId: string, reason: string): Failure =>
  new Failure('BACKUP_HELD', `backup ${backupId} is held: ${reason}`);

/**
 * Hides a backup behind a tombstone; returns the bytes that a purge will free. Refuses BACKUP_HELD, BACKUP_NEEDED when another backup
 * that is kept depends on it, NEWER_FORMAT: whether others need it is for the version that wrote it to say, and BACKUP_UNTRUSTED.
 */
export async function removeBackup(
  store: ObjectStore,
  backups: StoredBackups,
  ref: TargetRef,
  backupId: string,
  now: number,
): Promise<number> {
  const { manifest, restorable } = await backups.manifest(ref, backupId);
  if (!restorable.ok) throw notRestorable(backupId, restorable.reason);
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

/** The removed backups whose grace is over, held ones aside, with what their tombstones list. */
async function expiredBackups(
  store: ObjectStore,
  ref: TargetRef,
  now: number,
  graceMs: number,
): Promise<{ readonly backupId: string; readonly objects: readonly string[] }[]> {
  const holds = await readHolds(store, ref);
  return [...(await readTombstones(store, ref))].flatMap(([backupId, tombstone]) =>
    tombstone instanceof Failure || now - tombstone.removedAt < graceMs || holds.has(backupId)
      ? []
      : [{ backupId, objects: tombstone.objects }],
  );
}

/** Removes the bytes of backups whose tombstone is older than the grace; returns how many were freed. Never of a held or locked backup. */
export async function purgeRemoved(store: ObjectStore, ref: TargetRef, now: number, graceMs: number): Promise<number> {
  let freed = 0;
  await forEachItem(await expiredBackups(store, ref, now, graceMs), async ({ backupId, objects }) => {
    if ((await lockedUntil(store, ref, backupId, objects)) !== null) return;
    freed += await purgeBackup(store, ref, backupId, objects);
  });
  return freed;
}

/** See `Repository.locked`. */
export async function lockedBackups(
  store: ObjectStore,
  ref: TargetRef,
  now: number,
  graceMs: number,
): Promise<LockedBackup[]> {
  const locked: LockedBackup[] = [];
  if (store.locks === undefined) return locked;
  for (const { backupId, objects } of await expiredBackups(store, ref, now, graceMs)) {
    const until = await lockedUntil(store, ref, backupId, objects);
    if (until !== null) locked.push({ backupId, until });
  }
  return locked.sort((a, b) => a.until - b.until);
}
