import { randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Failure } from '@lastgood/core';
import { LOST_AND_FOUND, makePrivateFolder, removeFile, storeFailure, writeFirst } from '@lastgood/host';
import { uuidSchema } from '@lastgood/protocol';
import { z } from 'zod';
import { canonicalJson } from '../canonical-json.ts';
import { readJson } from './metadata-file.ts';
import { namesIn } from './safe-path.ts';

const MARKER = 'lastgood.json';
const markerSchema = z.object({ format: z.literal(1), repositoryId: uuidSchema });

export interface FolderRepositoryOptions {
  readonly path: string;
  /** A folder that must be a mount point of its own: without it an unmounted disk fills the root file system (B4). */
  readonly mustBeMount?: string | undefined;
  /** The installation that writes here. Of a target that has one, no other changes anything (B14); without it none is claimed. */
  readonly writer?: string;
}

/** Refuses REPOSITORY_NOT_MOUNTED unless `mustBeMount` is a mount point and the folder lies on that very file system (B5). */
export async function checkMount({ path, mustBeMount }: FolderRepositoryOptions): Promise<void> {
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

/** The file system on which a folder lies, or will when it is made. */
async function deviceOf(path: string): Promise<number | undefined> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw storeFailure(error, path);
  });
  return found?.dev ?? (dirname(path) === path ? undefined : await deviceOf(dirname(path)));
}

/** The id of the repository in a folder. A folder without marker is the mount point of a disk that is away (B5). */
export async function repositoryIdOf(path: string): Promise<string> {
  const marker = await readJson(join(path, MARKER), markerSchema);
  if (marker === undefined) throw new Failure('REPOSITORY_NOT_MOUNTED', `${path} has no ${MARKER}`);
  return marker.repositoryId;
}

/** Makes a repository of a missing or empty folder; leaves one that is there as it is. Several may do so at once: they get the same one. */
export async function makeRepository(path: string): Promise<void> {
  const names = await namesIn(path);
  const isRest = (name: string): boolean => name.startsWith(`${MARKER}.`);
  if (!names.includes(MARKER)) {
    const others = names.filter((name) => name !== LOST_AND_FOUND && !isRest(name));
    if (others.length > 0)
      throw new Failure('REPOSITORY_UNSAFE', `${path} is not empty and is no repository: it holds "${others[0]}"`);
    await makePrivateFolder(path);
    const marker = `${canonicalJson({ format: 1, repositoryId: randomUUID() })}\n`;
    await writeFirst(join(path, MARKER), join(path, `${MARKER}.${randomUUID()}`), marker).catch(
      async (error: unknown) => {
        // Whoever was first takes away what others have begun.
        if (!(await namesIn(path)).includes(MARKER)) throw error;
      },
    );
  }
  // Of makers that were killed; one that still runs finds the marker instead.
  for (const name of (await namesIn(path)).filter(isRest)) await removeFile(join(path, name));
}
