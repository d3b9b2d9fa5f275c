import { readFile } from 'node:fs/promises';
import { Failure } from '@lastgood/core';
import { cancellationOf, captureTool, freeBytes } from '@lastgood/host';

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

/** The ids of the user that runs scratch servers; undefined when the agent is not root and runs them itself. */
export async function unprivilegedUser(
  name: string,
  signal: AbortSignal,
): Promise<{ uid: number; gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const ask = async (flag: string): Promise<number> =>
    Number((await captureTool({ file: 'id', args: [flag, name], signal, timeoutMs: 10_000 }, 4096)).stdout.trim());
  try {
    return { uid: await ask('-u'), gid: await ask('-g') };
  } catch (error) {
    if (signal.aborted) throw cancellationOf(signal, 'the restore test');
    throw new Failure('CONFIG_INVALID', `the user "${name}" of scratch servers does not exist`, { cause: error });
  }
}

/** When a process started, by the kernel's count: a later process with the same id has another value. */
export async function startTimeOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}
