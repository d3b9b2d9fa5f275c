import { readFile } from 'node:fs/promises';

export interface ProcessMemory {
  readonly residentBytes: number;
  /** The resident memory with each shared page divided among the processes that share it. */
  readonly proportionalBytes: number;
  /** What no other process shares and the kernel cannot drop. */
  readonly privateBytes: number;
  readonly peakResidentBytes: number;
}
/** The memory of a running process, from /proc. */
export async function memoryOf(pid: number): Promise<ProcessMemory> {
  const [rollup, status] = await Promise.all(
    ['smaps_rollup', 'status'].map((name) => readFile(`/proc/${pid}/${name}`, 'utf8')),
  );
  const bytes = (text = '', name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? Number.NaN) * 1024;
  return {
    residentBytes: bytes(rollup, 'Rss'),
    proportionalBytes: bytes(rollup, 'Pss'),
    privateBytes: bytes(rollup, 'Private_Dirty'),
    peakResidentBytes: bytes(status, 'VmHWM'),
  };
}
