import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { removeFile, syncFolder } from '@lastgood/host';
import { uuidSchema } from '@lastgood/protocol';
import { z } from 'zod';
import { exists, MANIFEST, removeEmpty, UNFINISHED } from './incomplete-backup.ts';
import { readJson } from './metadata-file.ts';
import { checkFolder, lookAt, namesIn } from './safe-path.ts';

const tombstoneSchema = z.object({
  removedAt: z.number(),
  sequence: z.int(),
  storedBytes: z.number(),
  objects: z.array(z.string().regex(/^data\/[0-9]{4}\.[a-z]+(\.zst)?(\.age)?$/)),
});
export type Tombstone = z.infer<typeof tombstoneSchema>;

/** The removed backups of a target. One whose tombstone cannot be read is removed all the same: why stands in place of what it says. */
export async function readTombstones(folder: string): Promise<Map<string, Tombstone | Failure>> {
  const found = new Map<string, Tombstone | Failure>();
  if (!(await exists(folder))) return found;
  await checkFolder(folder);
  for (const name of await namesIn(folder)) {
    const id = name.replace(/\.json$/, '');
    if (!name.endsWith('.json') || !uuidSchema.safeParse(id).success) continue;
    try {
      const tombstone = await readJson(join(folder, name), tombstoneSchema);
      if (tombstone !== undefined) found.set(id, tombstone);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      found.set(id, error);
    }
  }
  return found;
}

/**
 * Removes the bytes of a backup that has a tombstone, and then the tombstone; tells how many it freed. The manifest first, and that
 * for good: a cut in the middle leaves no backup that looks whole. What no manifest listed stays. An object that cannot be removed
 * keeps the tombstone, for the next purge, and is thrown once all others are gone.
 */
export async function purgeBackup(target: string, backupId: string, objects: readonly string[]): Promise<number> {
  const folder = join(target, 'backups', backupId);
  let freed = 0;
  let refused: unknown;
  if (await exists(folder)) {
    await checkFolder(folder);
    await removeFile(join(folder, MANIFEST));
    await syncFolder(folder);
    if (await exists(join(folder, 'data'))) {
      await checkFolder(join(folder, 'data'));
      for (const name of objects)
        try {
          const size = (await lookAt(join(folder, name)))?.size ?? 0;
          await removeFile(join(folder, name));
          freed += size;
        } catch (error) {
          refused ??= error;
        }
    }
    if (refused !== undefined) throw refused;
    for (const name of ['verified.json', 'verified.json.partial', UNFINISHED]) await removeFile(join(folder, name));
    await removeEmpty(folder);
  }
  await syncFolder(join(target, 'backups'));
  await removeFile(join(target, 'tombstones', `${backupId}.json`));
  await syncFolder(join(target, 'tombstones'));
  return freed;
}
