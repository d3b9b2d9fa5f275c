import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, readdir } from 'node:fs/promises';
import { Failure } from '@lastgood/core';
import { storeFailure } from '@lastgood/host';

export const isAbsent = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');

/** What lies at a path, without following a symbolic link; undefined only when the file system states that nothing does. */
export async function statIfPresent(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw storeFailure(error, path);
  }
}

/** The names in a folder, sorted; none when there is no folder. */
export async function namesIn(path: string): Promise<string[]> {
  try {
    return (await readdir(path)).sort();
  } catch (error) {
    if (isAbsent(error)) return [];
    throw storeFailure(error, path);
  }
}

/** Refuses anything but a folder of ours that is closed to others (B4, B16). */
export function assertSafeFolder(path: string, found: Stats): void {
  if (found.isSymbolicLink() || !found.isDirectory())
    throw new Failure('REPOSITORY_UNSAFE', `${path} is not a folder, or a symbolic link to one`);
  if (process.getuid !== undefined && found.uid !== process.getuid())
    throw new Failure('REPOSITORY_UNSAFE', `${path} belongs to user ${found.uid}`);
  if ((found.mode & 0o077) !== 0)
    throw new Failure(
      'REPOSITORY_UNSAFE',
      `${path} has mode ${(found.mode & 0o777).toString(8)} and can be reached by others`,
    );
}

/** False when there is no such folder, or a file in its place. Throws REPOSITORY_UNSAFE for one that is not safe to use. */
export async function isSafeFolder(path: string): Promise<boolean> {
  const found = await statIfPresent(path);
  if (found === undefined || found.isFile()) return false;
  assertSafeFolder(path, found);
  return true;
}

/** Throws REPOSITORY_NOT_MOUNTED when the root of a store is missing, REPOSITORY_UNSAFE when it is not safe to use. */
export function assertRoot(path: string, found: Stats | undefined): void {
  if (found === undefined) throw new Failure('REPOSITORY_NOT_MOUNTED', `${path} does not exist`);
  assertSafeFolder(path, found);
}

/** assertRoot for a path. */
export async function checkRoot(path: string): Promise<void> {
  assertRoot(path, await statIfPresent(path));
}

/** Opens a stored file for reading, never through a symbolic link, only a regular file; undefined when there is none. */
export async function openStored(path: string): Promise<FileHandle | undefined> {
  try {
    // Without O_NONBLOCK a pipe in the place of a file would be waited for forever.
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    if (await isRegular(file)) return file;
    throw new Failure('REPOSITORY_UNSAFE', `${path} is not a regular file`);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw storeFailure(error, path);
  }
}

/** Closes the file unless it is a regular one. */
async function isRegular(file: FileHandle): Promise<boolean> {
  let regular = false;
  try {
    regular = (await file.stat()).isFile();
    return regular;
  } finally {
    if (!regular) await file.close();
  }
}
