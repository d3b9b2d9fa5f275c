import { readFile, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { root } from '@lastgood/testkit';

/** CPU seconds that all cores of the machine have used since boot, by all processes. */
export async function machineCpuSeconds(): Promise<number> {
  const fields = (await readFile('/proc/stat', 'utf8')).split('\n')[0]?.trim().split(/\s+/).slice(1).map(Number) ?? [];
  const idle = (fields[3] ?? 0) + (fields[4] ?? 0);
  const guest = (fields[8] ?? 0) + (fields[9] ?? 0);
  return (fields.reduce((sum, field) => sum + field, 0) - idle - guest) / 100;
}
const CLOCK_TICKS = 100;
/** CPU seconds of these processes and of those of their children that have ended. Other programs of the machine are not in it. */
export async function processCpuSeconds(pids: readonly number[]): Promise<number> {
  const ticks = await Promise.all(
    pids.map(async (pid) => {
      const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
      // utime, stime, cutime and cstime, behind the name of the program in parentheses.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    }),
  );
  return ticks.reduce((sum, each) => sum + each, 0) / CLOCK_TICKS;
}
export interface Measured {
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
}
export async function measure(work: () => Promise<unknown>): Promise<Measured> {
  const cpu = await machineCpuSeconds();
  const start = performance.now();
  await work();
  return { wallSeconds: (performance.now() - start) / 1000, cpuSeconds: (await machineCpuSeconds()) - cpu };
}
/** As `measure`, with the CPU seconds of this process and of the named ones alone: for machines that do something else as well. */
export async function measureProcesses(pids: readonly number[], work: () => Promise<unknown>): Promise<Measured> {
  const all = [process.pid, ...pids];
  const cpu = await processCpuSeconds(all);
  const start = performance.now();
  await work();
  return { wallSeconds: (performance.now() - start) / 1000, cpuSeconds: (await processCpuSeconds(all)) - cpu };
}
export const median = <T>(values: readonly T[], by: (value: T) => number): T => {
  const middle = values.toSorted((a, b) => by(a) - by(b))[Math.floor(values.length / 2)];
  if (middle === undefined) throw new TypeError('nothing was measured');
  return middle;
};
export const percentile = (values: readonly number[], p: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor((values.length * p) / 100))] ?? Number.NaN;

/** Prints a table and writes it between its markers in docs/performance.md. */
export async function report(
  section: string,
  head: readonly string[],
  rows: readonly (readonly string[])[],
): Promise<void> {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const table = [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
  const note = `Measured ${new Date().toISOString().slice(0, 10)} with Node ${process.version} on ${cpus().length} cores (${cpus()[0]?.model ?? 'unknown'}).`;
  console.log(`\n${section}\n${table}\n${note}`);
  const file = join(root, 'docs/performance.md');
  const text = await readFile(file, 'utf8');
  const markers = new RegExp(`(<!-- ${section} -->\\n)[\\s\\S]*?(<!-- /${section} -->)`);
  if (!markers.test(text)) throw new TypeError(`docs/performance.md has no markers for ${section}`);
  await writeFile(file, text.replace(markers, `$1${table}\n\n${note}\n$2`));
}
