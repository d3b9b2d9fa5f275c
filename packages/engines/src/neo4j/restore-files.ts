import { lstat, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { Bug, Failure } from '@lastgood/core';
import { syncFolder } from '@lastgood/host';
import { type AdminContext, type CheckReport, checkDatabase, loadDatabase, readStoreInfo } from './admin-tool.ts';
import { changeModes, flushFileSystem, removeTree, renameOwned, type StoreContext } from './owner-commands.ts';
import { parseManagedName, type RestoreNames } from './restore-names.ts';
import { databasesOf, MANAGED_PREFIX, type StoreFolders } from './store-folders.ts';
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
  await removeStore(admin, names.staging);
  await loadDatabase(admin, names.staging, archive);
  for (const root of rootsOf(admin.store)) {
    await matchModes(admin, join(root, names.database), join(root, names.staging));
    // neo4j-admin leaves it to the operating system when the files are written to disk.
    await flushFileSystem(admin, root);
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
 * Puts the staging store in the place of the database and sets the old one aside; the server must be stopped. May be repeated after an
 * interruption at any point, and be reverted by `swapBack` at any point. The old store and its logs are both moved away before anything
 * takes their place: a server that starts in between has no store of one database with the logs of the other. Throws DATABASE_REFUSED
 * while the database is in use, and RESTORE_FAILED when the staging store is missing or the aside name is taken.
 */
export async function swapIn(context: StoreContext, names: RestoreNames): Promise<void> {
  await refuseInUse(context.store, names.database);
  const roots = rootsOf(context.store);
  for (const root of roots) {
    const [live, staging, aside] = pathsIn(root, names);
    if (!(await exists(staging))) {
      // This root is done, unless nothing was ever loaded.
      if (await exists(live)) continue;
      throw new Failure('RESTORE_FAILED', `neither ${staging} nor ${live} exists`);
    }
    if (!(await exists(live))) continue;
    if (await exists(aside)) throw new Failure('RESTORE_FAILED', `cannot set ${live} aside: ${aside} exists`);
    await renameDurably(context, root, live, aside);
  }
  for (const root of roots) {
    const [live, staging] = pathsIn(root, names);
    if (await exists(staging)) await renameDurably(context, root, staging, live);
  }
}

/**
 * Brings back what `swapIn` set aside; what it had brought is kept under the undone name. Works for a complete swap and for one that was
 * interrupted, and may be repeated. `replaced` tells whether there was a database before. The server must be stopped; if it was started in
 * between, the database that it made is kept under a name of its own.
 */
export async function swapBack(context: StoreContext, names: RestoreNames, replaced: boolean): Promise<void> {
  await refuseInUse(context.store, names.database);
  const roots = rootsOf(context.store);
  for (const root of roots) {
    const [live, , , undone] = pathsIn(root, names);
    if (!(await isSwapped(root, names, replaced)) || !(await exists(live))) continue;
    if (!(await exists(undone))) await renameDurably(context, root, live, undone);
    else if (replaced) await moveStrayAway(context, root, names);
  }
  for (const root of roots) {
    const [live, , aside] = pathsIn(root, names);
    if (replaced && (await exists(aside))) await renameDurably(context, root, aside, live);
  }
}

const isSwapped = async (root: string, names: RestoreNames, replaced: boolean): Promise<boolean> => {
  const [, staging, aside] = pathsIn(root, names);
  return replaced ? await exists(aside) : !(await exists(staging));
};

/**
 * Keeps a store under a name of its own that is neither the old nor the restored one, because both have other names at this moment: a server
 * was started between two renames and has made an empty database.
 */
async function moveStrayAway(context: StoreContext, root: string, names: RestoreNames): Promise<void> {
  const live = join(root, names.database);
  for (const name of names.strays) {
    const path = join(root, name);
    if (await exists(path)) continue;
    await renameDurably(context, root, live, path);
    return;
  }
  throw new Failure('RESTORE_FAILED', `cannot move ${live} away: all names for it are taken`, {
    remedy: `Remove folders in ${root} whose names begin with "${MANAGED_PREFIX}stray".`,
  });
}

/** True when `swapBack` has something to bring back in one of the roots. */
export async function needsSwapBack(store: StoreFolders, names: RestoreNames, replaced: boolean): Promise<boolean> {
  for (const root of rootsOf(store)) {
    const [live] = pathsIn(root, names);
    if ((await isSwapped(root, names, replaced)) && (replaced || (await exists(live)))) return true;
  }
  return false;
}

/**
 * Takes back a `swapBack`, complete or interrupted: what the restore had brought is live again, and the old database is set aside. May be
 * repeated. The server must be stopped; if it was started in between, the database that it made is kept under a name of its own.
 */
export async function swapForward(context: StoreContext, names: RestoreNames): Promise<void> {
  await refuseInUse(context.store, names.database);
  const roots = rootsOf(context.store);
  for (const root of roots) {
    const [live, , aside, undone] = pathsIn(root, names);
    if (!(await exists(undone)) || !(await exists(live))) continue;
    if (await exists(aside)) await moveStrayAway(context, root, names);
    else await renameDurably(context, root, live, aside);
  }
  for (const root of roots) {
    const [live, , , undone] = pathsIn(root, names);
    if (await exists(undone)) await renameDurably(context, root, undone, live);
  }
}

/** True when the database that a restore set aside is still there, in both roots. */
export async function hasAside(store: StoreFolders, names: RestoreNames): Promise<boolean> {
  const found = await Promise.all(rootsOf(store).map((root) => exists(join(root, names.aside))));
  return found.every(Boolean);
}

/** Removes a store that a restore made or set aside. Nothing else: another name is a defect. May be repeated. */
export async function removeStore(context: StoreContext, name: string): Promise<void> {
  if (parseManagedName(name) === null) throw new Bug(`${name} is not a store of ours`);
  await refuseInUse(context.store, name);
  for (const root of rootsOf(context.store)) {
    await removeTree(context, join(root, name));
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

async function renameDurably(context: StoreContext, root: string, from: string, to: string): Promise<void> {
  await renameOwned(context, from, to);
  await syncFolder(root);
}

/** Gives loaded files the modes that most of those have which they replace. Without a database before they keep those of neo4j-admin. */
async function matchModes(context: StoreContext, like: string, path: string): Promise<void> {
  const folder = await stat(like).catch(() => null);
  const entries = await readdir(like, { withFileTypes: true }).catch(() => []);
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => stat(join(like, entry.name)).catch(() => null));
  const modes = (await Promise.all(files)).flatMap((found) => (found === null ? [] : [found.mode & 0o777]));
  const mode = mostFrequent(modes);
  if (folder === null || mode === undefined) return;
  await changeModes(context, path, { folders: folder.mode & 0o777, files: mode });
}

function mostFrequent(values: readonly number[]): number | undefined {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].toSorted(([, a], [, b]) => b - a)[0]?.[0];
}
