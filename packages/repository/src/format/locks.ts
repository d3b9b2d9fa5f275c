import type { ObjectStore } from '@lastgood/core';
import type { Manifest, TargetRef } from '@lastgood/protocol';
import { backupPrefix, MANIFEST } from './layout.ts';

const namesOf = (ref: TargetRef, { backupId, objects }: Manifest): string[] =>
  [MANIFEST, ...objects.map(({ name }) => name)].map((name) => `${backupPrefix(ref, backupId)}${name}`);

/**
 * Locks a published backup for `lockMs`, by the clock of the store. Nothing is locked before publication: a backup that was given up can be
 * removed. Does nothing in a store without locks.
 */
export async function lockBackup(
  store: ObjectStore,
  ref: TargetRef,
  manifest: Manifest,
  lockMs: number,
): Promise<void> {
  if (store.locks === undefined || lockMs === 0) return;
  const until = (await store.clock()) + lockMs;
  for (const name of namesOf(ref, manifest)) await store.locks.retain(name, until);
}

/** Lets the store refuse the removal of a held backup, or ends that. */
export async function setStoreHold(
  store: ObjectStore,
  ref: TargetRef,
  manifest: Manifest,
  held: boolean,
): Promise<void> {
  if (store.locks === undefined) return;
  for (const name of namesOf(ref, manifest)) await store.locks.setHold(name, held);
}

/** Until when the store refuses the removal of a backup; null when it does not. `objects` are its names of data. */
export async function lockedUntil(
  store: ObjectStore,
  ref: TargetRef,
  backupId: string,
  objects: readonly string[],
): Promise<number | null> {
  if (store.locks === undefined) return null;
  const prefix = backupPrefix(ref, backupId);
  let last = await store.clock();
  let isLocked = false;
  for (const name of [MANIFEST, ...objects]) {
    const until = await store.locks.lockedUntil(`${prefix}${name}`);
    if (until === null || until <= last) continue;
    last = until;
    isLocked = true;
  }
  return isLocked ? last : null;
}
