import { Failure, type ObjectStore } from '@lastgood/core';
import type { ManifestObject, TargetRef } from '@lastgood/protocol';
import { forEachItem } from './for-each-item.ts';
import { hasData, removeIncomplete } from './incomplete-backup.ts';
import { backupOf, backupPrefix, INCOMPLETE, logsPrefix, MANIFEST, targetPrefix } from './layout.ts';
import { lockBackup } from './locks.ts';
import { namesBelow } from './metadata.ts';
import { checkAllPresent } from './presence-check.ts';
import { isClaimIntent } from './put-once.ts';
import type { StoredBackups } from './stored-backups.ts';
import { readTombstones } from './tombstones.ts';

export interface SweepContext {
  readonly store: ObjectStore;
  readonly backups: StoredBackups;
  /** For how long a published backup is locked; 0 when it is not. */
  readonly lockMs: number;
}

/**
 * Removes what interrupted backups of a target left behind, except those of live jobs. Of copies in `resumable`, only what cannot be
 * continued is removed. Returns the ids that were removed completely.
 */
export async function sweepTarget(
  context: SweepContext,
  ref: TargetRef,
  liveBackupIds: ReadonlySet<string>,
  resumable: ReadonlySet<string>,
): Promise<string[]> {
  const { store, backups } = context;
  const swept: string[] = [];
  const removed = await readTombstones(store, ref);
  const isLive = (name: string): boolean => liveBackupIds.has(backupOf(ref, name)?.backupId ?? '');
  const candidates = new Set((await backups.listings(ref)).keys());
  for (const name of await removePartialWrites(store, ref, isLive)) {
    const backupId = backupOf(ref, name)?.backupId;
    if (backupId !== undefined) candidates.add(backupId);
  }
  await forEachItem([...candidates].sort(), async (backupId) => {
    if (liveBackupIds.has(backupId) || removed.has(backupId) || resumable.has(backupId)) return;
    await sweepBackup(context, ref, backupId);
    if ((await namesBelow(store, backupPrefix(ref, backupId))).length === 0) swept.push(backupId);
  });
  return swept;
}

/** What interrupted puts left behind. Log streams sweep for themselves: they write while no job of the target runs. */
async function removePartialWrites(
  store: ObjectStore,
  ref: TargetRef,
  isLive: (name: string) => boolean,
): Promise<readonly string[]> {
  const prefix = targetPrefix(ref);
  const isInUse = (name: string): boolean => isLive(name) || name.startsWith(logsPrefix(ref));
  if (!store.capabilities.conditionalPut)
    for (const name of await namesBelow(store, prefix))
      if (isClaimIntent(name) && !isInUse(name)) await store.remove(name);
  return await store.removePartials(prefix, isInUse);
}

/** Removes what an interrupted backup left. A manifest that may be good keeps everything. */
async function sweepBackup(context: SweepContext, ref: TargetRef, backupId: string): Promise<void> {
  const { store } = context;
  const prefix = backupPrefix(ref, backupId);
  if ((await store.stat(`${prefix}${INCOMPLETE}`)) === undefined) return;
  if ((await store.stat(`${prefix}${MANIFEST}`)) === undefined) await removeIncomplete(store, ref, backupId);
  else await settle(context, ref, backupId);
}

async function hasAny(store: ObjectStore, prefix: string, objects: readonly ManifestObject[]): Promise<boolean> {
  for (const { name } of objects) if ((await store.stat(`${prefix}${name}`)) !== undefined) return true;
  return false;
}

/**
 * Manifest and mark: published, and interrupted before its last step. Only with every object in place it is a backup; without any it
 * is the rest of one that was given up. What lies between keeps its mark and all it has: the list reports it, people decide.
 */
async function settle({ store, backups, lockMs }: SweepContext, ref: TargetRef, backupId: string): Promise<void> {
  const prefix = backupPrefix(ref, backupId);
  const found = await backups.manifest(ref, backupId).catch((error: unknown) => {
    if (error instanceof Failure && error.code !== 'IO_ERROR') return undefined;
    throw error;
  });
  if (found === undefined) return;
  const { objects } = found.manifest;
  if ((await checkAllPresent(store, prefix, found.manifest)).length === 0) {
    await lockBackup(store, ref, found.manifest, lockMs);
    await store.remove(`${prefix}${INCOMPLETE}`);
  } else if (!(await hasAny(store, prefix, objects)) && !(await hasData(store, ref, backupId)))
    await removeIncomplete(store, ref, backupId);
}
