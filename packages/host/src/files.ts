import { constants } from 'node:fs';
import { chmod, link, lstat, mkdir, open, readdir, rename, rm, statfs, unlink } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Failure } from '@lastgood/core';
import { captureTool } from './run-tool.ts';

const PRIVATE_FILE = 0o600;
const PRIVATE_FOLDER = 0o700;
/** Of a folder that everybody writes to, such as /tmp. */
const STICKY = 0o1000;
export const LOST_AND_FOUND = 'lost+found';

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
}

/** An error of the file system as a failure that names the path; failures pass through. */
export function storeFailure(error: unknown, path: string): Failure {
  if (error instanceof Failure) return error;
  const code = codeOf(error);
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new Failure('NO_SPACE', `no space left for ${path}`, { cause: error });
  if (code === 'ELOOP' || code === 'ENOTDIR' || code === 'EEXIST')
    return new Failure('REPOSITORY_UNSAFE', `${path} is not what it should be (${code})`, { cause: error });
  return new Failure('IO_ERROR', `${path}: ${code}`, { cause: error });
}

/** Makes the names in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  try {
    const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  } catch (error) {
    throw storeFailure(error, path);
  }
}

export interface PublishOptions {
  /** The partial file, in the folder of `path`; `<path>.partial` unless given. Give each of several concurrent writers its own. */
  readonly partial?: string;
  /** Keeps a file that already has the name. Of several concurrent writers exactly one publishes. */
  readonly ifAbsent?: boolean;
}

/**
 * The one way to write a file: into a new private partial file, synced, then renamed, then the folder synced. A final name
 * never holds partial bytes (I2), and a failed sync is never tried again on the same file. Returns false, and changes nothing,
 * when `ifAbsent` is set and the name is taken.
 */
export async function publishFile(
  path: string,
  write: (sink: Writable) => Promise<void>,
  { partial = `${path}.partial`, ifAbsent = false }: PublishOptions = {},
): Promise<boolean> {
  let ours = false;
  try {
    const file = await open(
      partial,
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      PRIVATE_FILE,
    );
    ours = true;
    // The stream syncs and closes the file when it ends, and closes it when it is destroyed.
    const sink = file.createWriteStream({ flush: true, highWaterMark: 1024 * 1024 });
    await write(sink).catch((error: unknown) => {
      sink.destroy();
      throw error;
    });
    if (ifAbsent) {
      const published = await linkFirst(partial, path);
      // Its bytes have their final name, or are not needed: a partial file that stays is swept later.
      await rm(partial, { force: true }).catch(() => undefined);
      if (!published) return false;
    } else await rename(partial, path);
    await syncFolder(dirname(path));
    return true;
  } catch (error) {
    // A partial file that was there before is another writer's, or a trap: it is not ours to remove.
    if (ours) await rm(partial, { force: true }).catch(() => undefined);
    throw storeFailure(error, path);
  }
}

/** Gives a written file its final name unless the name is taken; false when it is. */
async function linkFirst(partial: string, path: string): Promise<boolean> {
  try {
    await link(partial, path);
    return true;
  } catch (error) {
    switch (codeOf(error)) {
      case 'EEXIST':
        return false;
      // Another writer was first and removed the partial files of all others.
      case 'ENOENT':
        if (await isPresent(path)) return false;
        throw error;
      case 'EPERM':
      case 'ENOTSUP':
      case 'EOPNOTSUPP':
      case 'ENOSYS':
        return await renameFirst(partial, path);
      default:
        throw error;
    }
  }
}

/**
 * linkFirst for a file system without hard links: a lock file, created exclusively, keeps others from deciding at the same time.
 * A crash leaves the lock file: the name stays blocked (REPOSITORY_UNSAFE) until partial files are swept.
 */
async function renameFirst(partial: string, path: string): Promise<boolean> {
  const lock = `${path}.lock.partial`;
  const held = await open(lock, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, PRIVATE_FILE);
  try {
    if (await isPresent(path)) return false;
    await rename(partial, path);
    return true;
  } finally {
    await held.close();
    await removeFile(lock);
  }
}

async function isPresent(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    (error: unknown) => {
      if (codeOf(error) === 'ENOENT') return false;
      throw error;
    },
  );
}

/** publishFile for bytes that are at hand. A partial file that a crash left is replaced. */
export async function writeFileDurably(path: string, data: string | Uint8Array): Promise<void> {
  await rm(`${path}.partial`, { force: true });
  await publishFile(path, (sink) =>
    pipeline(Readable.from([typeof data === 'string' ? Buffer.from(data) : data]), sink),
  );
}

/** Writes one byte into a private file of no other content, and gives the time (ms) that the file system's own clock put on it. */
export async function touchFile(path: string): Promise<number> {
  try {
    const file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW, PRIVATE_FILE);
    try {
      await file.write('\n', 0);
      await file.sync();
      return (await file.stat()).mtimeMs;
    } finally {
      await file.close();
    }
  } catch (error) {
    throw storeFailure(error, path);
  }
}

/** Removes one file, or nothing when there is none. Not `rm`, which tells of a file that may not be removed as of a folder. */
export async function removeFile(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (codeOf(error) !== 'ENOENT') throw storeFailure(error, path);
  });
}

/** Makes the names in a folder durable that is not ours to judge: it may be reached by a symbolic link, or not be ours to read. */
async function syncParent(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY).catch((error: unknown) => {
    // Whoever may write there but not read has nothing to open.
    if (codeOf(error) === 'EACCES') return undefined;
    throw storeFailure(error, path);
  });
  try {
    await folder?.sync();
  } catch (error) {
    throw storeFailure(error, path);
  } finally {
    await folder?.close();
  }
}

/**
 * Makes a folder (and its parents) for its owner alone, durably, also one whose maker was killed before its name was durable. One
 * that is there and empty is closed to others; one that holds anything and is open stays as it is and is refused
 * (DATA_FOLDER_UNSAFE): a typo must not close a folder of somebody else.
 */
export async function makePrivateFolder(path: string): Promise<void> {
  const wanted = resolve(path);
  const first = await mkdir(wanted, { recursive: true, mode: PRIVATE_FOLDER }).catch((error: unknown) => {
    if (codeOf(error) === 'EEXIST' || codeOf(error) === 'ENOTDIR')
      throw new Failure('DATA_FOLDER_UNSAFE', `${wanted} is no folder, or lies below a file`);
    throw storeFailure(error, wanted);
  });
  if (first === undefined && (await isOursToClose(wanted))) await chmod(wanted, PRIVATE_FOLDER);
  for (let made = wanted; made !== dirname(made); made = dirname(made)) {
    await syncParent(dirname(made));
    if (first === undefined || made === first) break;
  }
  await checkPrivate(wanted);
}

/** True for an open folder of ours that holds nothing, but for what the maker of a file system puts into each. */
async function isOursToClose(path: string): Promise<boolean> {
  const found = await lstat(path);
  const shared = (found.mode & STICKY) !== 0;
  if (!found.isDirectory() || (found.mode & 0o077) === 0 || shared || found.uid !== process.getuid?.()) return false;
  return (await readdir(path)).every((name) => name === LOST_AND_FOUND);
}

/** Throws what makePrivateFolder would, and makes nothing. */
export async function checkPrivateToBe(path: string): Promise<void> {
  const there = await lstat(path).catch(() => undefined);
  if (there !== undefined && !(await isOursToClose(path))) await checkPrivate(path);
}

/** Refuses a path that is a symlink, belongs to another user or can be reached by others (B4, B16). */
export async function checkPrivate(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) throw new Failure('DATA_FOLDER_UNSAFE', `${path} does not exist`);
  if (found.isSymbolicLink()) throw new Failure('DATA_FOLDER_UNSAFE', `${path} is a symbolic link`);
  if (process.getuid !== undefined && found.uid !== process.getuid())
    throw new Failure('DATA_FOLDER_UNSAFE', `${path} belongs to user ${found.uid}, not to ${process.getuid()}`);
  if ((found.mode & 0o077) !== 0)
    throw new Failure(
      'DATA_FOLDER_UNSAFE',
      `${path} has mode ${(found.mode & 0o777).toString(8)}; it must be closed to others`,
    );
}

/** Bytes that an unprivileged writer may still use on the file system of `path`. */
export async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path).catch((error: unknown) => {
    throw storeFailure(error, path);
  });
  return bavail * bsize;
}

const DROP_MS = 60_000;
/**
 * Clean pages of a synced file leave memory, so that what is read next comes from the device; `dd` of coreutils can ask for that.
 * Where it cannot be had the bytes are read from wherever they are: gives the reason then, and null when all is well.
 */
export async function dropFromMemory(path: string, signal: AbortSignal): Promise<string | null> {
  const args = [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none'];
  try {
    await captureTool({ file: 'dd', args, signal, timeoutMs: DROP_MS }, 4096);
    return null;
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (error instanceof Failure) return error.message;
    throw error;
  }
}
