import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { captureTool } from '@lastgood/host';
import { temporaryFolder } from './temporary-folder.ts';

const SIZE = 64 * 1024 * 1024;
const TOOL_MS = 60_000;
/** EXT4_IOC_SHUTDOWN with NOLOGFLUSH: data in memory never reaches the disk, as in a power cut. */
const CUT = 'open(F, "<", $ARGV[0]) or die $!; $how = pack("L", 2); ioctl(F, 0x8004587d, $how) or die $!';

export interface PowerCutDisk extends AsyncDisposable {
  /** The mount point; null when this machine cannot create such a disk, with the reason in `reason`. */
  readonly path: string | null;
  readonly reason: string | null;
  /**
   * Cuts the power: every later call on the disk fails, and unsynced data is lost. The kernel may report success for a sync that runs at
   * the same time (seen with Linux 6.18 and a single fsync), so do not trust calls that end during the cut.
   */
  cut(): Promise<void>;
  /** Mounts the disk again after a cut. */
  mountAgain(): Promise<void>;
}

async function run(file: string, ...args: string[]): Promise<void> {
  await captureTool({ file, args, signal: new AbortController().signal, timeoutMs: TOOL_MS });
}

/** Creates an ext4 file system on a loop device whose power can be cut. Needs root. */
export async function powerCutDisk(): Promise<PowerCutDisk> {
  const unavailable = (reason: string): PowerCutDisk => ({
    path: null,
    reason,
    cut: async () => undefined,
    mountAgain: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  });
  if (process.getuid?.() !== 0) return unavailable('mounting a file system needs root');
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
    return unavailable(
      `cannot create ext4 on a loop device: ${error instanceof Error ? error.message : String(error)}`,
    );
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
