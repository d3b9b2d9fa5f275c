import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import {
  type CopyMode,
  copyInto,
  copyTo,
  makeOwnedFolders,
  type OwnerContext,
  removeTree,
  type StoreContext,
} from './owner-commands.ts';
import { databasesOf, foldersBelow, logsOf, MANAGED_PREFIX, type StoreFolders, storeOf } from './store-folders.ts';

const LARGEST_SAMPLE = 16 * 1024 * 1024;

/** Makes the folders of a copy below `target`, as the owner of the store. Before a freeze: it takes a while. */
export async function prepareCopy(source: StoreContext, target: string): Promise<StoreFolders> {
  const folders = foldersBelow(target);
  await makeOwnedFolders(source, target, databasesOf(folders), folders.transactions);
  return folders;
}

/**
 * Copies databases with their transaction logs into prepared folders, as the owner of the store, for a server that is stopped or frozen:
 * files that change while they are copied are not one state. Throws NO_SPACE, or TOOL_FAILED such as when blocks cannot be shared in
 * mode `reflink`.
 */
export async function copyStore(
  source: StoreContext,
  target: StoreFolders,
  options: { readonly databases: readonly string[]; readonly mode: CopyMode },
): Promise<void> {
  const { databases, mode } = options;
  const stores = databases.map((database) => storeOf(source.store, database));
  const logs = databases.map((database) => logsOf(source.store, database));
  await copyInto(source, stores, databasesOf(target), mode);
  await copyInto(source, logs, target.transactions, mode);
}

export interface StoreSize {
  readonly files: number;
  readonly bytes: number;
}

/** Counts the files of a database and of its transaction logs. */
export async function measureStore(store: StoreFolders, database: string): Promise<StoreSize> {
  let files = 0;
  let bytes = 0;
  for (const folder of [storeOf(store, database), logsOf(store, database)])
    for (const path of await listFiles(folder)) {
      // A file may vanish while the server runs.
      const found = await stat(path).catch(() => null);
      files += found === null ? 0 : 1;
      bytes += found?.size ?? 0;
    }
  return { files, bytes };
}

async function listFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** True when files of the store can be copied into `target` by sharing their blocks. Leaves nothing behind. */
export async function canReflink({ store, ...context }: StoreContext, target: string): Promise<boolean> {
  const probe = join(target, `${MANAGED_PREFIX}reflink-${process.pid}`);
  for (const folder of [databasesOf(store), store.transactions]) {
    const sample = await findSample(folder);
    if (sample === null || !(await canShare(context, sample, probe))) return false;
  }
  return true;
}

async function canShare(context: OwnerContext, from: string, to: string): Promise<boolean> {
  try {
    await copyTo(context, from, to, 'reflink');
    return true;
  } catch (error) {
    if (error instanceof Failure && error.code === 'TOOL_FAILED') return false;
    throw error;
  } finally {
    await removeTree(context, to).catch(() => undefined);
  }
}

/** A small file with contents: an empty one can be shared anywhere. */
async function findSample(folder: string): Promise<string | null> {
  for (const path of await listFiles(folder)) {
    const size = (await stat(path).catch(() => null))?.size ?? 0;
    if (size > 0 && size <= LARGEST_SAMPLE) return path;
  }
  return null;
}
