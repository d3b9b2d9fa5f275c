import { chmod, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { captureTool } from '@lastgood/host';
import { temporaryFolder } from './temporary-folder.ts';

const TOOL_MS = 60_000;
/** The least that mkfs.xfs accepts. */
const LEAST_GIGABYTES = 0.5;
const GIGABYTE = 1024 ** 3;

export interface ReflinkDisk extends AsyncDisposable {
  /** Where it is mounted. */
  readonly path: string;
  readonly reason: null;
}
/** Why this machine has none: a test that needs it is skipped with this reason. */
export interface NoReflinkDisk extends AsyncDisposable {
  readonly path: null;
  readonly reason: string;
}

async function run(file: string, ...args: string[]): Promise<void> {
  await captureTool({ file, args, signal: new AbortController().signal, timeoutMs: TOOL_MS });
}

/** A file system whose files can share blocks (XFS on a loop device); needs root and xfsprogs. */
export async function reflinkDisk(gigabytes = LEAST_GIGABYTES): Promise<ReflinkDisk | NoReflinkDisk> {
  const none = (reason: string): NoReflinkDisk => ({
    path: null,
    reason,
    [Symbol.asyncDispose]: async () => undefined,
  });
  if (process.getuid?.() !== 0) return none('only root mounts a file system');
  await using starting = new AsyncDisposableStack();
  const folder = starting.use(await temporaryFolder());
  // Servers run as another user.
  await chmod(folder.path, 0o711);
  const [image, path] = [join(folder.path, 'image'), join(folder.path, 'disk')];
  {
    await using file = await open(image, 'w', 0o600);
    await file.truncate(gigabytes * GIGABYTE);
  }
  await mkdir(path);
  try {
    await run('mkfs.xfs', '-q', '-m', 'reflink=1', image);
    await run('mount', '-o', 'loop', image, path);
  } catch (error) {
    return none(`no XFS on a loop device: ${error instanceof Error ? error.message : String(error)}`);
  }
  await chmod(path, 0o711);
  starting.defer(() => run('umount', '-l', path).catch(() => undefined));
  const cleanup = starting.move();
  return { path, reason: null, [Symbol.asyncDispose]: () => cleanup.disposeAsync() };
}
