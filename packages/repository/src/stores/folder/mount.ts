import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Failure } from '@lastgood/core';
import { storeFailure } from '@lastgood/host';

export interface FolderLocation {
  readonly path: string;
  /** A folder that must be a mount point of its own: without it an unmounted disk fills the root file system (B4). */
  readonly mustBeMount?: string | undefined;
}

/** Refuses REPOSITORY_NOT_MOUNTED unless `mustBeMount` is a mount point and the folder lies on that very file system (B5). */
export async function checkMount({ path, mustBeMount }: FolderLocation): Promise<void> {
  if (mustBeMount === undefined) return;
  const [mount, parent] = await Promise.all([stat(mustBeMount), stat(dirname(mustBeMount))]).catch(() => []);
  if (mount === undefined || parent === undefined || mount.dev === parent.dev)
    throw new Failure('REPOSITORY_NOT_MOUNTED', `${mustBeMount} is not a mount point`);
  if ((await deviceOf(path)) !== mount.dev)
    throw new Failure(
      'REPOSITORY_NOT_MOUNTED',
      `${path} does not lie on the file system that is mounted at ${mustBeMount}`,
    );
}

/** The file system on which a folder lies, or will lie once it is created. */
async function deviceOf(path: string): Promise<number | undefined> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw storeFailure(error, path);
  });
  return found?.dev ?? (dirname(path) === path ? undefined : await deviceOf(dirname(path)));
}
