import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { storeFailure, syncFolder } from '@lastgood/host';

const isAbsent = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');

/** What lies at a path; undefined only when the file system says that nothing does. A disk that fails to answer has not said so. */
export async function lookAt(path: string): Promise<Stats | undefined> {
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
export async function checkFolder(path: string): Promise<void> {
  const found = await lookAt(path);
  if (found === undefined) throw new Failure('REPOSITORY_NOT_MOUNTED', `${path} does not exist`);
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

/**
 * Walks down from a checked root, making each folder durably when `make` is set; every step is checked. A folder that is there may
 * be one whose maker was killed before its name was durable, so it is made durable as well.
 */
export async function descend(root: string, parts: readonly string[], make: boolean): Promise<string> {
  let path = root;
  for (const part of parts) {
    const parent = path;
    path = join(path, part);
    if (make) {
      await mkdir(path, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw storeFailure(error, path);
      });
      await syncFolder(parent);
    }
    await checkFolder(path);
  }
  return path;
}

/** Opens a stored file for reading; never through a symbolic link, only a regular file. */
export async function openStored(path: string): Promise<FileHandle> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    if (!(await file.stat()).isFile()) {
      await file.close();
      throw new Failure('REPOSITORY_UNSAFE', `${path} is not a regular file`);
    }
    return file;
  } catch (error) {
    throw storeFailure(error, path);
  }
}
