import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { captureTool } from '@lastgood/host';
import { temporaryFolder } from './temporary-folder.ts';

const SIZE = 64 * 1024 * 1024;
const TOOL_MS = 60_000;
/** EXT4_IOC_SHUTDOWN with NOLOGFLUSH: what is in memory never reaches the disk, as when the power goes. */
const CUT = 'open(F, "<", $ARGV[0]) or die $!; $how = pack("L", 2); ioctl(F, 0x8004587d, $how) or die $!';

export interface PowerCutDisk extends AsyncDisposable {
  /** Where it is mounted; null when this machine cannot make one, and `reason` says why. */
  readonly path: string | null;
  readonly reason: string | null;
  /**
   * From now on every call on the disk fails, and nothing that was not synced is on it. Of a sync that is on its way meanwhile the
   * kernel may say that it went well (seen with Linux 6.18 and one bare fsync): what is said while this runs is not to be believed.
   */
  cut(): Promise<void>;
  /** After a cut: mounts what is on the disk. */
  mountAgain(): Promise<void>;
}

async function run(file: string, ...args: string[]): Promise<void> {
  await captureTool({ file, args, signal: new AbortController().signal, timeoutMs: TOOL_MS });
}

/** A file system of its own (ext4 on a loop device) whose power can be cut; needs root. */
export async function powerCutDisk(): Promise<PowerCutDisk> {
  const none = (reason: string): PowerCutDisk => ({
    path: null,
    reason,
    cut: async () => undefined,
    mountAgain: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  });
  if (process.getuid?.() !== 0) return none('only root mounts a file system');
  await using starting = new AsyncDisposableStack();
  const folder = starting.use(await temporaryFolder());
  const [image, path] = [join(folder.path, 'image'), join(folder.path, 'disk')];
  await writeFile(image, '');
  await using file = await open(image, 'r+');
  await file.truncate(SIZE);
  await mkdir(path);
  const mount = (): Promise<void> => run('mount', '-o', 'loop', image, path);
  try {
    await run('mkfs.ext4', '-q', '-F', image);
    await mount();
  } catch (error) {
    return none(`no ext4 on a loop device: ${error instanceof Error ? error.message : String(error)}`);
  }
  starting.defer(() => run('umount', path).catch(() => undefined));
  const cleanup = starting.move();
  return {
    path,
    reason: null,
    cut: () => run('perl', '-e', CUT, path),
    async mountAgain() {
      await run('umount', path);
      await mount();
    },
    [Symbol.asyncDispose]: () => cleanup.disposeAsync(),
  };
}
