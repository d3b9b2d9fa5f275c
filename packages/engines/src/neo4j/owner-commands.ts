import { Failure } from '@lastgood/core';
import { captureTool } from '@lastgood/host';
import type { Owner, StoreFolders } from './store-folders.ts';

const QUICK_MS = 60_000;
const COPY_MS = 24 * 3_600_000;
const MAX_OUTPUT_BYTES = 64 * 1024;

/**
 * How files of a store are changed: as the user who owns them. An agent that runs as root would otherwise follow symbolic links that this
 * user can put into the paths at any moment.
 */
export interface StoreContext {
  readonly store: StoreFolders;
  /** The owner of the store, when the agent is root; undefined when the agent runs as that user. */
  readonly user: Owner | undefined;
  readonly signal: AbortSignal;
}
export type OwnerContext = Pick<StoreContext, 'user' | 'signal'>;

async function run({ user, signal }: OwnerContext, file: string, args: readonly string[], timeoutMs = QUICK_MS) {
  const as = user === undefined ? {} : { user };
  // A folder that every user can be in.
  await captureTool({ file, args, signal, timeoutMs, cwd: '/', ...as }, MAX_OUTPUT_BYTES);
}

/** Makes folders for their owner alone, parents first. */
export async function makeOwnedFolders(context: OwnerContext, ...paths: readonly string[]): Promise<void> {
  await run(context, 'mkdir', ['-p', '-m', '0700', '--', ...paths]);
}

/** `reflink` shares the blocks, in milliseconds, and fails where the file system cannot; `any` shares them where it can. */
export type CopyMode = 'reflink' | 'any';
const copyFlags = (mode: CopyMode): string[] => ['-a', `--reflink=${mode === 'reflink' ? 'always' : 'auto'}`];

/** Copies files and folders, with everything in them, into a folder. */
export async function copyInto(
  context: OwnerContext,
  paths: readonly string[],
  folder: string,
  mode: CopyMode,
): Promise<void> {
  await run(context, 'cp', [...copyFlags(mode), '-t', folder, '--', ...paths], COPY_MS);
}

/** Copies one file to another name. */
export async function copyTo(context: OwnerContext, from: string, to: string, mode: CopyMode): Promise<void> {
  await run(context, 'cp', [...copyFlags(mode), '-T', '--', from, to]);
}

/** Removes a file or a folder with everything in it, or nothing when there is none. */
export async function removeTree(context: OwnerContext, path: string): Promise<void> {
  await run(context, 'rm', ['-r', '-f', '--', path], COPY_MS);
}

/** Renames a folder within its parent. The caller makes sure that nothing has the new name. */
export async function renameOwned(context: OwnerContext, from: string, to: string): Promise<void> {
  try {
    await run(context, 'mv', ['-T', '--', from, to]);
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'TOOL_FAILED') throw error;
    throw new Failure('RESTORE_FAILED', `cannot rename ${from} to ${to}`, { cause: error });
  }
}

/** Sets the modes of a folder and of everything in it. */
export async function changeModes(
  context: OwnerContext,
  path: string,
  modes: { readonly folders: number; readonly files: number },
): Promise<void> {
  for (const [type, mode] of [
    ['f', modes.files],
    ['d', modes.folders],
  ] as const)
    await run(context, 'find', [path, '-depth', '-type', type, '-exec', 'chmod', mode.toString(8), '{}', '+']);
}

/** Writes everything to disk that the file system of a path still holds in memory. */
export async function flushFileSystem(context: OwnerContext, path: string): Promise<void> {
  await run(context, 'sync', ['-f', '--', path], COPY_MS);
}
