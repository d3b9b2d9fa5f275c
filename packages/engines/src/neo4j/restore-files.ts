import { chmod, lstat, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { Bug, Failure } from '@lastgood/core';
import { storeFailure, syncFolder } from '@lastgood/host';
import { type AdminContext, type CheckReport, checkDatabase, loadDatabase, readStoreInfo } from './admin-tool.ts';
import { parseManagedName, type RestoreNames } from './restore-names.ts';
import { databasesOf, type StoreFolders } from './store-folders.ts';
import { findDatabaseUser } from './store-lock.ts';

/** The two folders that hold a folder per database. */
const rootsOf = (store: StoreFolders): string[] => [databasesOf(store), store.transactions];
const exists = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );

/**
 * Loads an archive beside the running server, under the staging name. Removes what an interrupted load left under that name first.
 * `admin.user` must be the owner of the store. A damaged archive harms nothing: it leaves a staging store, which `removeStore` removes.
 */
export async function loadStaging(admin: AdminContext, names: RestoreNames, archive: Readable): Promise<void> {
  await removeStore(admin.store, names.staging);
  await loadDatabase(admin, names.staging, archive);
  for (const root of rootsOf(admin.store)) {
    await matchModes(join(root, names.database), join(root, names.staging));
    await syncTree(join(root, names.staging));
    await syncFolder(root);
  }
}

export type StagingReport =
  | { readonly state: 'ready' }
  /** Not clean, or not the store that the backup recorded. */
  | {
      readonly state: 'unexpected';
      readonly reason: 'unreadable' | 'recovery-required' | 'in-use' | 'transaction' | 'format';
    }
  | { readonly state: 'failed-check'; readonly check: Exclude<CheckReport, { state: 'consistent' }> };

/** Compares a staging store with what its backup recorded, and checks its consistency. Changes nothing; may be repeated. */
export async function checkStaging(
  admin: AdminContext,
  names: RestoreNames,
  expected: { readonly lastTransaction: number; readonly storeFormat: string },
): Promise<StagingReport> {
  const info = await readStoreInfo(admin, names.staging);
  if (info.state !== 'clean') return { state: 'unexpected', reason: info.state };
  if (info.lastTransaction !== expected.lastTransaction) return { state: 'unexpected', reason: 'transaction' };
  if (info.storeFormat !== expected.storeFormat) return { state: 'unexpected', reason: 'format' };
  const check = await checkDatabase(admin, names.staging);
  return check.state === 'consistent' ? { state: 'ready' } : { state: 'failed-check', check };
}

/**
 * Puts the staging store in the place of the database and sets the old one aside, by two renames in each root; the server must be stopped.
 * May be repeated after an interruption at any point, and be reverted by `swapBack` at any point. Throws DATABASE_REFUSED while the
 * database is in use, and RESTORE_FAILED when the staging store is missing or the aside name is taken.
 */
export async function swapIn(store: StoreFolders, names: RestoreNames): Promise<void> {
  await refuseInUse(store, names.database);
  for (const root of rootsOf(store)) {
    const [live, staging, aside] = pathsIn(root, names);
    if (!(await exists(staging))) {
      // This root is done, unless nothing was ever loaded.
      if (await exists(live)) continue;
      throw new Failure('RESTORE_FAILED', `neither ${staging} nor ${live} exists`);
    }
    if (await exists(live)) {
      if (await exists(aside)) throw new Failure('RESTORE_FAILED', `cannot set ${live} aside: ${aside} exists`);
      await renameDurably(root, live, aside);
    }
    await renameDurably(root, staging, live);
  }
}

/**
 * Brings back what `swapIn` set aside; what it had brought is kept under the undone name. Works for a complete swap and for one that was
 * interrupted, and may be repeated. `replaced` tells whether there was a database before. The server must be stopped.
 */
export async function swapBack(store: StoreFolders, names: RestoreNames, replaced: boolean): Promise<void> {
  await refuseInUse(store, names.database);
  for (const root of rootsOf(store)) {
    const [live, staging, aside, undone] = pathsIn(root, names);
    const isSwapped = replaced ? await exists(aside) : !(await exists(staging));
    if (!isSwapped) continue;
    if (await exists(live)) {
      if (await exists(undone)) throw new Failure('RESTORE_FAILED', `cannot move ${live} away: ${undone} exists`);
      await renameDurably(root, live, undone);
    }
    if (replaced) await renameDurably(root, aside, live);
  }
}

/** True when the database that a restore set aside is still there, in both roots. */
export async function hasAside(store: StoreFolders, names: RestoreNames): Promise<boolean> {
  const found = await Promise.all(rootsOf(store).map((root) => exists(join(root, names.aside))));
  return found.every(Boolean);
}

/** Removes a store that a restore made or set aside. Nothing else: another name is a defect. May be repeated. */
export async function removeStore(store: StoreFolders, name: string): Promise<void> {
  if (parseManagedName(name) === null) throw new Bug(`${name} is not a store of ours`);
  await refuseInUse(store, name);
  for (const root of rootsOf(store)) {
    await rm(join(root, name), { recursive: true, force: true, maxRetries: 3 });
    await syncFolder(root);
  }
}

/** The names of all stores that restores made or set aside, in either root. */
export async function listManagedStores(store: StoreFolders): Promise<string[]> {
  const names = await Promise.all(rootsOf(store).map((root) => readdir(root).catch(() => [])));
  return [...new Set(names.flat())].filter((name) => parseManagedName(name) !== null).toSorted();
}

const pathsIn = (
  root: string,
  { database, staging, aside, undone }: RestoreNames,
): [string, string, string, string] => [
  join(root, database),
  join(root, staging),
  join(root, aside),
  join(root, undone),
];

async function refuseInUse(store: StoreFolders, database: string): Promise<void> {
  const user = await findDatabaseUser(store, database);
  if (user !== null)
    throw new Failure('DATABASE_REFUSED', `database "${database}" is in use by process ${user.pid}`, {
      remedy: 'Stop the server first.',
    });
}

async function renameDurably(root: string, from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    throw storeFailure(error, to);
  }
  await syncFolder(root);
}

/** Gives loaded files the modes that those of the database have which they replace. Without one they keep those of neo4j-admin. */
async function matchModes(like: string, path: string): Promise<void> {
  const folder = await stat(like).catch(() => null);
  const files = await readdir(like, { withFileTypes: true }).catch(() => []);
  const file = files.find((entry) => entry.isFile() && entry.name !== 'database_lock');
  if (folder === null || file === undefined) return;
  const fileMode = (await stat(join(like, file.name))).mode & 0o777;
  const apply = async (at: string): Promise<void> => {
    await chmod(at, folder.mode & 0o777);
    for (const entry of await readdir(at, { withFileTypes: true }))
      if (entry.isDirectory()) await apply(join(at, entry.name));
      else await chmod(join(at, entry.name), fileMode);
  };
  await apply(path);
}

/** Makes every file below a folder durable: neo4j-admin leaves that to the operating system. */
async function syncTree(path: string): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const child = join(path, entry.name);
    if (entry.isDirectory()) await syncTree(child);
    else {
      await using file = await open(child, 'r').catch((error: unknown) => {
        throw storeFailure(error, child);
      });
      await file.sync().catch((error: unknown) => {
        throw storeFailure(error, child);
      });
    }
  }
  await syncFolder(path);
}
