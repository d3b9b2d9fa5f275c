import type { Writable } from 'node:stream';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Failure } from '@lastgood/core';
import { seedManifest } from './aof-manifest.ts';
import { DataFolder, type Ownership } from './data-folder.ts';
import type { ServerFiles } from './server-files.ts';

/*
 * A restore moves whole entries between the data folder and folders of ours in it, each named after the restore:
 *
 *   stage      lastgood-new-ID     the new files, written and synced while the server still runs
 *   set aside  lastgood-aside-ID   the old files; the server is stopped
 *   place                          the new files are moved into the data folder; lastgood-new-ID is gone
 *
 *   undo       lastgood-undone-ID  the restored files are moved away; then lastgood-aside-ID is renamed to
 *              lastgood-return-ID  and its files are moved back
 *
 * The folders that exist show how far it came: every step can be repeated after a crash, and does nothing when it is done.
 */
/** The name of a folder of ours in the data folder of a server. */
export const managedFolderName = (kind: 'new' | 'aside' | 'return' | 'undone', id: string): string =>
  `lastgood-${kind}-${id}`;
const MANAGED = /^lastgood-(new|aside|return|undone)-([0-9a-z]{1,64})$/;

export interface RestoreFilesRequest {
  readonly files: ServerFiles;
  /** Names this restore: lower-case letters and digits, such as the end of the id of its job. */
  readonly restoreId: string;
}
export type WriteFile = (sink: Writable) => Promise<void>;
/** The new files: one RDB file, or the files and the manifest of an append-only set. */
export type NewFiles =
  | { readonly way: 'plain' | 'seed'; readonly rdb: WriteFile }
  | {
      readonly way: 'set';
      readonly manifest: string;
      readonly members: readonly { readonly name: string; readonly write: WriteFile }[];
    };

/** The entries of the data folder that a restore replaces. */
const entriesOf = ({ rdbName, appendFolderName }: ServerFiles): readonly string[] => [rdbName, appendFolderName];

/** The owner and the modes of what the server has written so far: new files get the same. */
export async function ownershipOf(files: ServerFiles): Promise<Ownership> {
  await using folder = await DataFolder.open(files.dir);
  const own = await folder.find('');
  const rdb = await folder.find(files.rdbName);
  const set = await folder.find(files.appendFolderName);
  const owner = rdb ?? set ?? own;
  return {
    uid: owner?.uid ?? 0,
    gid: owner?.gid ?? 0,
    fileMode: rdb?.isFile() === true ? rdb.mode & 0o777 : 0o640,
    folderMode: set?.isDirectory() === true ? set.mode & 0o777 : 0o750,
  };
}

/** Writes the new files beside the old ones. Begins anew when it was interrupted. Changes nothing that the server uses. */
export async function stageFiles(
  { files, restoreId }: RestoreFilesRequest,
  content: NewFiles,
  owner: Ownership,
): Promise<void> {
  await using folder = await DataFolder.open(files.dir);
  const name = managedFolderName('new', restoreId);
  await folder.remove(name);
  await folder.makeFolder(name);
  await using staged = await folder.child(name);
  if (content.way === 'plain') {
    await staged.publish(files.rdbName, content.rdb);
    await staged.give(files.rdbName, owner);
  } else {
    const { base, manifest } = seedManifest(files.appendFilename);
    const set = content.way === 'set' ? content : { manifest, members: [{ name: base, write: content.rdb }] };
    await stageSet(staged, files, set, owner);
  }
  await staged.sync();
  await folder.sync();
}

async function stageSet(
  staged: DataFolder,
  { appendFolderName, appendFilename }: ServerFiles,
  { manifest, members }: Pick<Extract<NewFiles, { way: 'set' }>, 'manifest' | 'members'>,
  owner: Ownership,
): Promise<void> {
  await staged.makeFolder(appendFolderName);
  {
    await using set = await staged.child(appendFolderName);
    for (const { name, write } of members) {
      await set.publish(name, write);
      await set.give(name, owner);
    }
    // Last: without it the server would not take the files for a set.
    const manifestName = `${appendFilename}.manifest`;
    await set.publish(manifestName, (sink) => pipeline(Readable.from([Buffer.from(manifest)]), sink));
    await set.give(manifestName, owner);
    await set.sync();
  }
  await staged.give(appendFolderName, owner);
}

/** True while there are new files that have not been placed. */
async function hasStaged(folder: DataFolder, restoreId: string): Promise<boolean> {
  const name = managedFolderName('new', restoreId);
  if (!(await folder.has(name))) return false;
  await using staged = await folder.child(name);
  return (await staged.names()).length > 0;
}

/** Moves the old files away. The server must be stopped. Once the new files are in place it does nothing. */
export async function setAside({ files, restoreId }: RestoreFilesRequest): Promise<void> {
  await using folder = await DataFolder.open(files.dir);
  if (!(await hasStaged(folder, restoreId))) return;
  const name = managedFolderName('aside', restoreId);
  await folder.makeFolder(name);
  await using aside = await folder.child(name);
  for (const entry of entriesOf(files)) if (await folder.has(entry)) await folder.move(entry, aside);
  await aside.sync();
  await folder.sync();
}

/** Moves the new files to where the server loads them. Fails with TARGET_NOT_EMPTY when something is there. */
export async function placeFiles({ files, restoreId }: RestoreFilesRequest): Promise<void> {
  await using folder = await DataFolder.open(files.dir);
  const name = managedFolderName('new', restoreId);
  if (!(await folder.has(name))) return;
  {
    await using staged = await folder.child(name);
    for (const entry of await staged.names()) await staged.move(entry, folder);
    await folder.sync();
  }
  await folder.removeEmpty(name);
  await folder.sync();
}

/** Takes a restore back, however far it came: afterwards the old files are in place. The server must be stopped. */
export async function returnFiles({ files, restoreId }: RestoreFilesRequest): Promise<void> {
  await using folder = await DataFolder.open(files.dir);
  const [aside, back] = [managedFolderName('aside', restoreId), managedFolderName('return', restoreId)];
  if (await folder.has(aside)) {
    // While the new files wait, what is in the data folder is old: the set-aside was interrupted.
    if (!(await hasStaged(folder, restoreId))) await moveCurrentAway(folder, files, restoreId);
    await folder.rename(aside, back);
  }
  await moveBack(folder, back, restoreId);
  await folder.remove(managedFolderName('new', restoreId));
  await folder.sync();
}

async function moveCurrentAway(folder: DataFolder, files: ServerFiles, restoreId: string): Promise<void> {
  const name = managedFolderName('undone', restoreId);
  await folder.makeFolder(name);
  await using undone = await folder.child(name);
  for (const entry of entriesOf(files)) if (await folder.has(entry)) await folder.move(entry, undone);
  await undone.sync();
  await folder.sync();
}

/** Where an old file belongs, nothing of the restore is left. A file there is from a server that was started in between: it is kept aside. */
async function moveStrayAway(folder: DataFolder, entry: string, restoreId: string): Promise<void> {
  const name = managedFolderName('undone', restoreId);
  await folder.makeFolder(name);
  await using undone = await folder.child(name);
  let kept = entry;
  for (let count = 1; await undone.has(kept); count += 1) kept = `${entry}.${count}`;
  await folder.move(entry, undone, kept);
  await undone.sync();
}

async function moveBack(folder: DataFolder, name: string, restoreId: string): Promise<void> {
  if (!(await folder.has(name))) return;
  {
    await using back = await folder.child(name);
    for (const entry of await back.names()) {
      if (await folder.has(entry)) await moveStrayAway(folder, entry, restoreId);
      await back.move(entry, folder);
    }
    await folder.sync();
  }
  await folder.removeEmpty(name);
}

/** Removes what was staged and never placed. */
export async function discardStaged({ files, restoreId }: RestoreFilesRequest): Promise<void> {
  await using folder = await DataFolder.open(files.dir);
  await folder.remove(managedFolderName('new', restoreId));
  await folder.sync();
}

/** Removes the files that were set aside, or those that an undo has moved away: after this they are gone. */
export async function discardOld({ files, restoreId }: RestoreFilesRequest, kind: 'aside' | 'undone'): Promise<void> {
  await using folder = await DataFolder.open(files.dir);
  await folder.remove(managedFolderName(kind, restoreId));
  await folder.sync();
}

export interface ManagedFolder {
  readonly restoreId: string;
  /** `new` and `return` are left by an interrupted restore or undo; `aside` and `undone` are kept until they are discarded. */
  readonly kind: 'new' | 'aside' | 'return' | 'undone';
}

/** The folders of restores in the data folder of a server. */
export async function listManagedFolders(dir: string): Promise<ManagedFolder[]> {
  await using folder = await DataFolder.open(dir);
  return (await folder.names()).flatMap((name) => {
    const [, kind, restoreId] = MANAGED.exec(name) ?? [];
    if (restoreId === undefined || !(kind === 'new' || kind === 'aside' || kind === 'return' || kind === 'undone'))
      return [];
    return [{ restoreId, kind }];
  });
}

/** Throws CONFIG_INVALID when files of the server cannot be moved within its data folder, such as a mount point. */
export async function requireMovable(files: ServerFiles): Promise<void> {
  await using folder = await DataFolder.open(files.dir);
  const own = await folder.find('');
  for (const entry of entriesOf(files)) {
    const found = await folder.find(entry);
    if (found !== null && own !== null && found.dev !== own.dev)
      throw new Failure('CONFIG_INVALID', `${files.dir}/${entry} is a mount point, which cannot be moved aside`, {
        remedy: 'Mount the whole data folder of the server instead of a folder in it.',
      });
  }
}
