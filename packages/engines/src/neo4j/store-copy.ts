import { constants, copyFile, mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { storeFailure } from '@lastgood/host';
import { databasesOf, foldersBelow, MANAGED_PREFIX, type StoreFolders } from './store-folders.ts';

const AT_ONCE = 8;
const LARGEST_SAMPLE = 16 * 1024 * 1024;
/** Locks, and files that Neo4j makes anew at every start. */
const isSkipped = (name: string): boolean =>
  name === 'database_lock' || name === 'store_lock' || name.startsWith('id-buffer.tmp.');

export interface CopyOptions {
  readonly databases: readonly string[];
  /** `reflink`: shares the blocks, in milliseconds, and fails where the file system cannot. `any`: shares where it can. */
  readonly mode: 'reflink' | 'any';
  readonly signal: AbortSignal;
}
export interface CopiedStore {
  readonly folders: StoreFolders;
  readonly files: number;
  readonly bytes: number;
}

interface CopyJob {
  readonly from: string;
  readonly to: string;
}

/**
 * Copies databases with their transaction logs into an empty folder, for an offline server or one that is frozen: files that change while
 * they are copied are not one state. Throws NO_SPACE, or IO_ERROR when blocks cannot be shared in mode `reflink`.
 */
export async function copyStore(source: StoreFolders, target: string, options: CopyOptions): Promise<CopiedStore> {
  const folders = foldersBelow(target);
  const jobs: CopyJob[] = [];
  for (const database of options.databases) {
    await listFiles(join(databasesOf(source), database), join(databasesOf(folders), database), jobs);
    await listFiles(join(source.transactions, database), join(folders.transactions, database), jobs);
  }
  const flags = options.mode === 'reflink' ? constants.COPYFILE_FICLONE_FORCE : constants.COPYFILE_FICLONE;
  let bytes = 0;
  const copyNext = async (): Promise<void> => {
    for (let job = jobs[next++]; job !== undefined; job = jobs[next++]) {
      options.signal.throwIfAborted();
      await copyFile(job.from, job.to, flags | constants.COPYFILE_EXCL);
      const { size } = await stat(job.to);
      bytes += size;
    }
  };
  let next = 0;
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, copyNext));
  } catch (error) {
    if (options.signal.aborted) throw options.signal.reason;
    throw storeFailure(error, target);
  }
  return { folders, files: jobs.length, bytes };
}

/** Makes the folders of a copy and lists its files, in the order of a crash copy: nothing depends on it while the server stands still. */
async function listFiles(from: string, to: string, jobs: CopyJob[]): Promise<void> {
  await mkdir(to, { recursive: true, mode: 0o700 });
  for (const entry of await readdir(from, { withFileTypes: true }).catch((error: unknown) => {
    throw storeFailure(error, from);
  })) {
    if (isSkipped(entry.name)) continue;
    const job = { from: join(from, entry.name), to: join(to, entry.name) };
    if (entry.isDirectory()) await listFiles(job.from, job.to, jobs);
    else if (entry.isFile()) jobs.push(job);
    else throw new Failure('REPOSITORY_UNSAFE', `${job.from} is neither a file nor a folder`);
  }
}

export interface StoreSize {
  readonly files: number;
  readonly bytes: number;
}

/** Counts what a copy of a database would hold. */
export async function measureStore(store: StoreFolders, database: string): Promise<StoreSize> {
  const jobs: string[] = [];
  const walk = async (folder: string): Promise<void> => {
    for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
      if (isSkipped(entry.name)) continue;
      if (entry.isDirectory()) await walk(join(folder, entry.name));
      else jobs.push(join(folder, entry.name));
    }
  };
  await walk(join(databasesOf(store), database));
  await walk(join(store.transactions, database));
  let bytes = 0;
  // A file may vanish while the server runs.
  for (const path of jobs) bytes += (await stat(path).catch(() => ({ size: 0 }))).size;
  return { files: jobs.length, bytes };
}

/** True when a file of the store can be copied into `target` by sharing its blocks. Leaves nothing behind. */
export async function canReflink(store: StoreFolders, target: string): Promise<boolean> {
  const probe = join(target, `${MANAGED_PREFIX}reflink-${process.pid}`);
  try {
    for (const folder of [databasesOf(store), store.transactions]) {
      const source = await findSample(folder);
      if (source === null) return false;
      await copyFile(source, probe, constants.COPYFILE_FICLONE_FORCE);
      await rm(probe);
    }
    return true;
  } catch {
    return false;
  } finally {
    await rm(probe, { force: true });
  }
}

/** A small file with contents: an empty one can be shared anywhere. */
async function findSample(folder: string): Promise<string | null> {
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => [])) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const size = (await stat(path).catch(() => null))?.size ?? 0;
    if (size > 0 && size <= LARGEST_SAMPLE) return path;
  }
  return null;
}
