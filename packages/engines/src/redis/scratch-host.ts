import { readFile } from 'node:fs/promises';
import { Failure } from '@lastgood/core';
import { freeBytes } from '@lastgood/host';

export interface ScratchNeeds {
  readonly needDiskBytes: number;
  readonly needMemoryBytes: number;
}

/** Throws NO_SPACE when the disk below `base` or the memory of the host is too small. */
export async function requireResources(base: string, { needDiskBytes, needMemoryBytes }: ScratchNeeds): Promise<void> {
  const disk = await freeBytes(base);
  if (disk < needDiskBytes)
    throw new Failure('NO_SPACE', `a scratch server needs ${needDiskBytes} bytes in ${base}, ${disk} are free`, {
      remedy: 'Free space there, or set scratchFolder in the connection of the target.',
    });
  const memory = await availableMemory();
  if (memory !== null && memory < needMemoryBytes)
    throw new Failure(
      'NO_SPACE',
      `a scratch server needs ${needMemoryBytes} bytes of memory, ${memory} are available`,
      {
        remedy: 'Run the restore test on a host with more memory.',
      },
    );
}

/** Memory that programs may still take, in bytes. Null where the system does not report it. */
export async function availableMemory(): Promise<number | null> {
  const text = await readFile('/proc/meminfo', 'utf8').catch(() => '');
  const kilobytes = /^MemAvailable:\s+(\d+) kB$/m.exec(text)?.[1];
  return kilobytes === undefined ? null : Number(kilobytes) * 1024;
}
