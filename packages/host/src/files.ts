import { constants } from 'node:fs';
import { chmod, link, lstat, mkdir, open, readdir, rename, rm, statfs, unlink } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Failure } from '@lastgood/core';
import { captureTool } from './run-tool.ts';

const PRIVATE_FILE = 0o600;
const PRIVATE_FOLDER = 0o700;
/** The mode bit of a shared folder, such as /tmp. */
const STICKY = 0o1000;
export const LOST_AND_FOUND = 'lost+found';

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
}

/** Codes that say nothing about the health of a disk. */
const PERMISSION_REMEDIES: ReadonlyMap<string, string> = new Map([
  [
    'EPERM',
    'The file system does not allow this. Look for an immutable or locked file (`lsattr`), or for another owner.',
  ],
  ['EACCES', 'Give the user of the agent access to the path that the message names.'],
  ['EROFS', 'The file system is mounted read-only. Find out why (`dmesg`), then mount it for writing.'],
]);

/** Converts a file system error to a Failure that names the path. Returns a Failure unchanged. */
export function storeFailure(error: unknown, path: string): Failure {
  if (error instanceof Failure) return error;
  const code = codeOf(error);
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new Failure('NO_SPACE', `no space left for ${path}`, { cause: error });
  if (code === 'ELOOP' || code === 'ENOTDIR' || code === 'EEXIST')
    return new Failure('REPOSITORY_UNSAFE', `${path} has an unexpected file type or already exists (${code})`, {
      cause: error,
    });
  const remedy = PERMISSION_REMEDIES.get(code);
  return new Failure('IO_ERROR', `${path}: ${code}`, { cause: error, ...(remedy === undefined ? {} : { remedy }) });
}

/** Syncs a folder, so that the names in it survive a power cut. */
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
  /** The partial file, in the folder of `path`; `<path>.partial` by default. Concurrent writers each need their own. */
  readonly partial?: string;
  /** Keeps an existing file. Exactly one of several concurrent writers publishes. */
  readonly ifAbsent?: boolean;
}

/**
 * The only way to write a file durably: writes and syncs a new private partial file, renames it, then syncs the folder. A final name
 * never holds partial bytes (I2). A failed sync is never retried on the same file. With `ifAbsent`, returns false and changes nothing
 * when the name is taken.
 */
export async function publishFile(
  path: string,
  write: (sink: Writable) => Promise<void>,
  { partial = `${path}.partial`, ifAbsent = false }: PublishOptions = {},
): Promise<boolean> {
  let created = false;
  try {
    const file = await open(
      partial,
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      PRIVATE_FILE,
    );
    created = true;
    // The stream syncs and closes the file when it ends, and closes it when it is destroyed.
    const sink = file.createWriteStream({ flush: true, highWaterMark: 1024 * 1024 });
    await write(sink).catch((error: unknown) => {
      sink.destroy();
      throw error;
    });
    if (ifAbsent) {
      const published = await linkIfAbsent(partial, path);
      // The partial file is no longer needed. If it cannot be removed now, the sweep removes it later.
      await rm(partial, { force: true }).catch(() => undefined);
      if (!published) return false;
    } else await rename(partial, path);
    await syncFolder(dirname(path));
    return true;
  } catch (error) {
    // A partial file that existed before belongs to another writer or an attacker, so it must not be removed.
    if (created) await rm(partial, { force: true }).catch(() => undefined);
    throw storeFailure(error, path);
  }
}

/** Gives a written file its final name. Returns false when the name is taken. */
async function linkIfAbsent(partial: string, path: string): Promise<boolean> {
  try {
    await link(partial, path);
    return true;
  } catch (error) {
    switch (codeOf(error)) {
      case 'EEXIST':
        return false;
      // Another writer published first and removed all other partial files.
      case 'ENOENT':
        if (await isPresent(path)) return false;
        throw error;
      case 'EPERM':
      case 'ENOTSUP':
      case 'EOPNOTSUPP':
      case 'ENOSYS':
        return await renameIfAbsent(partial, path);
      default:
        throw error;
    }
  }
}

/**
 * linkIfAbsent for a file system without hard links. An exclusively created lock file serializes concurrent writers. After a crash
 * the lock file remains and blocks the name (REPOSITORY_UNSAFE) until partial files are swept.
 */
async function renameIfAbsent(partial: string, path: string): Promise<boolean> {
  const lock = `${path}.lock.partial`;
  const lockFile = await open(lock, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, PRIVATE_FILE);
  try {
    if (await isPresent(path)) return false;
    await rename(partial, path);
    return true;
  } finally {
    await lockFile.close();
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

/** Like publishFile, for bytes in memory. Replaces a partial file that a crash left. */
export async function writeFileDurably(path: string, data: string | Uint8Array): Promise<void> {
  await rm(`${path}.partial`, { force: true });
  await publishFile(path, (sink) =>
    pipeline(Readable.from([typeof data === 'string' ? Buffer.from(data) : data]), sink),
  );
}

/** Writes one byte to a private marker file and returns its modification time (ms since the epoch) by the clock of the file system. */
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

/** Removes one file, or nothing when there is none. Not `rm`, which reports a file that may not be removed as a folder. */
export async function removeFile(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (codeOf(error) !== 'ENOENT') throw storeFailure(error, path);
  });
}

/** Syncs a parent folder. Unlike `syncFolder`, it accepts a symbolic link and a folder that this user cannot read. */
async function syncParent(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY).catch((error: unknown) => {
    // A user that may write there but not read cannot open it.
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
 * Creates a folder and its parents durably, with access for the owner only. An existing folder is synced too, since its creator may
 * have been killed before. An existing empty folder becomes private. An existing folder that has content and is open to others is
 * refused (DATA_FOLDER_UNSAFE) and not changed: a typo must not lock out the users of an unrelated folder.
 */
export async function makePrivateFolder(path: string): Promise<void> {
  const wanted = resolve(path);
  const first = await mkdir(wanted, { recursive: true, mode: PRIVATE_FOLDER }).catch((error: unknown) => {
    if (codeOf(error) === 'EEXIST' || codeOf(error) === 'ENOTDIR')
      throw new Failure('DATA_FOLDER_UNSAFE', `${wanted} is not a folder, or is below a file`);
    throw storeFailure(error, wanted);
  });
  if (first === undefined && (await canMakePrivate(wanted))) await chmod(wanted, PRIVATE_FOLDER);
  for (let created = wanted; created !== dirname(created); created = dirname(created)) {
    await syncParent(dirname(created));
    if (first === undefined || created === first) break;
  }
  await checkPrivate(wanted);
}

/** True for a folder of this user that is open to others and empty, except for the lost+found of a new file system. */
async function canMakePrivate(path: string): Promise<boolean> {
  const found = await lstat(path);
  const shared = (found.mode & STICKY) !== 0;
  if (!found.isDirectory() || (found.mode & 0o077) === 0 || shared || found.uid !== process.getuid?.()) return false;
  return (await readdir(path)).every((name) => name === LOST_AND_FOUND);
}

/** Throws what makePrivateFolder would throw, and changes nothing. */
export async function checkPrivateToBe(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found !== undefined && !(await canMakePrivate(path))) await checkPrivate(path);
}

/** Refuses a path that is missing, is a symbolic link, belongs to another user or gives others access (B4, B16). */
export async function checkPrivate(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) throw new Failure('DATA_FOLDER_UNSAFE', `${path} does not exist`);
  if (found.isSymbolicLink()) throw new Failure('DATA_FOLDER_UNSAFE', `${path} is a symbolic link`);
  if (process.getuid !== undefined && found.uid !== process.getuid())
    throw new Failure('DATA_FOLDER_UNSAFE', `${path} belongs to user ${found.uid}, not to ${process.getuid()}`);
  if ((found.mode & 0o077) !== 0)
    throw new Failure(
      'DATA_FOLDER_UNSAFE',
      `${path} has mode ${(found.mode & 0o777).toString(8)}; other users must have no access`,
    );
}

/** The bytes that an unprivileged user can still write to the file system of `path`. */
export async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path).catch((error: unknown) => {
    throw storeFailure(error, path);
  });
  return bavail * bsize;
}

const DROP_MS = 60_000;
/**
 * Drops the clean pages of a synced file from the page cache (with `dd`), so that the next read comes from the device. Returns null, or
 * the reason when that is not possible; the next read may then come from memory.
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
