import { Failure, type Repository } from '@lastgood/core';
import { LOST_AND_FOUND, makePrivateFolder } from '@lastgood/host';
import { MARKER } from '../../format/layout.ts';
import { createRepository, openRepository, type RepositoryOptions } from '../../format/repository.ts';
import { FolderStore } from './folder-store.ts';
import { checkMount, type FolderLocation } from './mount.ts';
import { namesIn } from './safe-path.ts';

export type FolderRepositoryOptions = FolderLocation & RepositoryOptions;

const storeOf = ({ path, mustBeMount, writer = 'nobody' }: FolderRepositoryOptions): FolderStore =>
  new FolderStore({ path, mustBeMount, clockOwner: writer });

/** Opens a folder that already is a repository. Throws REPOSITORY_NOT_MOUNTED when its marker is missing, REPOSITORY_UNSAFE when others can reach it. */
export async function openFolderRepository(options: FolderRepositoryOptions): Promise<Repository> {
  return await openRepository(storeOf(options), options);
}

/** Makes a repository of a missing or empty folder, and opens one that is there. Refuses a folder that holds anything else. */
export async function createFolderRepository(options: FolderRepositoryOptions): Promise<Repository> {
  await checkMount(options);
  await makeEmptyFolder(options.path);
  return await createRepository(storeOf(options), options);
}

/** Makes a private folder, unless it is a repository. */
async function makeEmptyFolder(path: string): Promise<void> {
  const names = await namesIn(path);
  if (names.includes(MARKER)) return;
  // Of those that began to make a repository here.
  const isPartialMarker = (name: string): boolean => name.startsWith(`${MARKER}.`) && name.endsWith('.partial');
  const others = names.filter((name) => name !== LOST_AND_FOUND && !isPartialMarker(name));
  if (others.length > 0)
    throw new Failure('REPOSITORY_UNSAFE', `${path} is not empty and is not a repository: it holds "${others[0]}"`);
  await makePrivateFolder(path);
}
