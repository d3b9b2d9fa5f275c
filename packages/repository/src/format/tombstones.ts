import { Failure, type ObjectStore } from '@lastgood/core';
import { manifestObjectSchema, type TargetRef } from '@lastgood/protocol';
import { z } from 'zod';
import { canonicalJson } from './canonical-json.ts';
import { forEachItem } from './for-each-item.ts';
import {
  backupPrefix,
  COPIED,
  INCOMPLETE,
  idOfFile,
  MANIFEST,
  tombstoneName,
  tombstonesPrefix,
  VERIFIED,
} from './layout.ts';
import { namesBelow, readJson } from './metadata.ts';

const tombstoneSchema = z.object({
  removedAt: z.number(),
  sequence: z.int(),
  storedBytes: z.number(),
  objects: z.array(manifestObjectSchema.shape.name),
});
export type Tombstone = z.infer<typeof tombstoneSchema>;

/** The removed backups of a target. One whose tombstone cannot be read is removed all the same: the failure stands in its place. */
export async function readTombstones(store: ObjectStore, ref: TargetRef): Promise<Map<string, Tombstone | Failure>> {
  const found = new Map<string, Tombstone | Failure>();
  const prefix = tombstonesPrefix(ref);
  for (const name of await namesBelow(store, prefix)) {
    const id = idOfFile(prefix, name);
    if (id === undefined) continue;
    try {
      const tombstone = await readJson(store, name, tombstoneSchema);
      if (tombstone !== undefined) found.set(id, tombstone);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      found.set(id, error);
    }
  }
  return found;
}

export async function writeTombstone(
  store: ObjectStore,
  ref: TargetRef,
  backupId: string,
  tombstone: Tombstone,
): Promise<void> {
  await store.put(tombstoneName(ref, backupId), Buffer.from(`${canonicalJson(tombstone)}\n`));
}

/** Brings a removed backup back, as long as it was not purged. */
export async function removeTombstone(store: ObjectStore, ref: TargetRef, backupId: string): Promise<void> {
  await store.remove(tombstoneName(ref, backupId));
}

/**
 * Removes the bytes of a backup that has a tombstone, and then the tombstone; returns how many bytes it freed. The manifest goes
 * first: a crash in the middle leaves no backup that looks whole. What no manifest listed stays. An object that cannot be removed
 * keeps the tombstone, for the next purge, and is thrown once all others are gone.
 */
export async function purgeBackup(
  store: ObjectStore,
  ref: TargetRef,
  backupId: string,
  objects: readonly string[],
): Promise<number> {
  const prefix = backupPrefix(ref, backupId);
  let freed = 0;
  await store.remove(`${prefix}${MANIFEST}`);
  await forEachItem(objects, async (object) => {
    // Something else is in the place of the object; removing it reports what is wrong.
    const size = await store.stat(`${prefix}${object}`).then(
      (stat) => stat?.size ?? 0,
      () => 0,
    );
    await store.remove(`${prefix}${object}`);
    freed += size;
  });
  for (const name of [VERIFIED, COPIED, INCOMPLETE]) await store.remove(`${prefix}${name}`);
  await store.remove(tombstoneName(ref, backupId));
  return freed;
}
