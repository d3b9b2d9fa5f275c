import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { captureTool, freeBytes } from '@lastgood/host';
import { temporaryFolder } from './temporary-folder.ts';

/** A small separate file system for disk-full tests (A6, L2). */
export interface SmallFileSystem extends AsyncDisposable {
  readonly path: string;
  readonly reason: null;
  /** Uses all space except `leaveBytes` (default 0, rounded to pages). */
  fill(leaveBytes?: number): Promise<void>;
  /** Frees the space that `fill` used. */
  free(): Promise<void>;
}
/** Why this machine cannot create one. Tests that need it are skipped with this reason. */
export interface NoSmallFileSystem extends AsyncDisposable {
  readonly path: null;
  readonly reason: string;
}

const BALLAST = 'ballast';
const PAGE = 4096;
const CHUNK = 256 * PAGE;

async function call(file: string, ...args: string[]): Promise<void> {
  await captureTool({ file, args, signal: new AbortController().signal, timeoutMs: 30_000 });
}
const unavailable = (reason: string): NoSmallFileSystem => ({
  path: null,
  reason,
  [Symbol.asyncDispose]: () => Promise.resolve(),
});

/** Mounts a private tmpfs of this size if permitted. Disposing unmounts it, even while files in it are open. */
export async function smallFileSystem(
  sizeBytes: number,
  options: { readonly inodes?: number } = {},
): Promise<SmallFileSystem | NoSmallFileSystem> {
  if (process.platform !== 'linux') return unavailable('a tmpfs needs Linux');
  if (process.getuid?.() !== 0) return unavailable('mounting a tmpfs needs root');
  await using starting = new AsyncDisposableStack();
  const { path } = starting.use(await temporaryFolder());
  const inodes = options.inodes === undefined ? '' : `,nr_inodes=${Math.trunc(options.inodes)}`;
  try {
    await call('mount', '-t', 'tmpfs', '-o', `size=${Math.trunc(sizeBytes)},mode=0700${inodes}`, 'lastgood-test', path);
  } catch (error) {
    return unavailable(error instanceof Failure ? error.message : 'mount failed');
  }
  starting.defer(() => call('umount', '-l', path));
  const ballast = join(path, BALLAST);
  const cleanup = starting.move();
  return {
    path,
    reason: null,
    fill: async (leaveBytes = 0) => {
      await rm(ballast, { force: true });
      const file = await open(ballast, 'wx', 0o600);
      try {
        let left = (await freeBytes(path)) - leaveBytes;
        for (left -= left % PAGE; left > 0; left -= CHUNK) await file.write(new Uint8Array(Math.min(left, CHUNK)));
      } finally {
        await file.close();
      }
    },
    free: () => rm(ballast, { force: true }),
    [Symbol.asyncDispose]: () => cleanup.disposeAsync(),
  };
}
