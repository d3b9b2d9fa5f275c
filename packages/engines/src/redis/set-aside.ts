import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type EngineContext, Failure } from '@lastgood/core';
import type { TargetInventory } from '@lastgood/protocol';
import { CONTENT } from './backup-method.ts';
import type { RedisConnection } from './connection-schema.ts';
import { findServer } from './open-server.ts';
import { discardOld, listManagedFolders, type ManagedFolder, managedFolderName } from './restore-files.ts';
import { jobIdOf } from './restore-id.ts';
import { type ServerFiles, serverFilesOf } from './server-files.ts';

export type SetAside = NonNullable<TargetInventory['setAside']>[number];
interface KeptFolder extends ManagedFolder {
  readonly kind: 'aside' | 'undone';
}
const isKept = (folder: ManagedFolder): folder is KeptFolder => folder.kind === 'aside' || folder.kind === 'undone';

/** Null when a file went away meanwhile, or may not be seen. */
async function sizeOf(folder: string): Promise<number | null> {
  try {
    const names = await readdir(folder, { recursive: true });
    const sizes = await Promise.all(names.map(async (name) => (await lstat(join(folder, name))).size));
    return sizes.reduce((sum, size) => sum + size, 0);
  } catch {
    return null;
  }
}

/** The files that restores and undos have kept in the data folder, by the names of their folders. */
export async function listSetAside({ dir }: ServerFiles): Promise<SetAside[]> {
  const kept = (await listManagedFolders(dir)).filter(isKept);
  return await Promise.all(
    kept.map(async ({ kind, restoreId }) => {
      const name = managedFolderName(kind, restoreId);
      return { name, of: CONTENT.name, sizeBytes: await sizeOf(join(dir, name)), restoreJobId: jobIdOf(restoreId) };
    }),
  );
}

/** Removes files that were set aside. Throws NOT_FOUND for any other name. */
export async function dropSetAside(
  connection: RedisConnection,
  name: string,
  { signal }: EngineContext,
): Promise<{ freedBytes: number | null }> {
  await using server = await findServer(connection, async () => ({ configFiles: [], product: 'redis' }), signal);
  const files = connection.fileAccess ? serverFilesOf(server.facts.settings, connection.dataDir) : null;
  const folders = files === null ? [] : await listManagedFolders(files.dir);
  const found = folders.filter(isKept).find(({ kind, restoreId }) => managedFolderName(kind, restoreId) === name);
  if (files === null || found === undefined)
    throw new Failure('NOT_FOUND', `no files "${name}" are set aside on this server`, {
      remedy: 'List them with `lastgood set-aside list`.',
    });
  const freedBytes = await sizeOf(join(files.dir, name));
  await discardOld({ files, restoreId: found.restoreId }, found.kind);
  return { freedBytes };
}
