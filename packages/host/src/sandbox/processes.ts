import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

const POLL_MS = 50;

/** A process of this host. Its start time distinguishes it from a later one with the same id. */
export interface FoundProcess {
  readonly pid: number;
  readonly startTime: string;
}

/** The fields of /proc/PID/stat behind the name of the program, which may hold spaces and parentheses; null without such a process. */
async function readStat(pid: number): Promise<string[] | null> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  return text === null ? null : text.slice(text.lastIndexOf(')') + 2).split(' ');
}

/** When a process started, in clock ticks of the kernel; undefined when there is none. */
export async function startTimeOf(pid: number): Promise<string | undefined> {
  return (await readStat(pid))?.[19];
}

/** The parent of a process; undefined when it is gone. */
export async function parentOf(pid: number): Promise<number | undefined> {
  const parent = (await readStat(pid))?.[1];
  return parent === undefined ? undefined : Number(parent);
}

/** The processes of this host that a check accepts. One that has ended and waits for its parent does not count. */
export async function findProcesses(accepts: (pid: number) => Promise<boolean>): Promise<FoundProcess[]> {
  const found: FoundProcess[] = [];
  for (const name of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(name)) continue;
    const pid = Number(name);
    if (pid === process.pid || !(await accepts(pid))) continue;
    const stat = await readStat(pid);
    if (stat?.[0] !== undefined && stat[0] !== 'Z' && stat[19] !== undefined) found.push({ pid, startTime: stat[19] });
  }
  return found;
}

/** The real user of a process; undefined when it is gone. Unlike the owner of its folder in /proc, it cannot be hidden. */
export async function userOf(pid: number): Promise<number | undefined> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const [, uid] = /^Uid:\s+(\d+)/m.exec(status) ?? [];
  return uid === undefined ? undefined : Number(uid);
}

/** In how many PID namespaces a process is, from that of this process inwards: 1 for a process like any other, 2 in a sandbox. */
export async function namespaceDepthOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const [, ids] = /^NSpid:\s+(.*)$/m.exec(status) ?? [];
  return ids === undefined ? 1 : ids.trim().split(/\s+/).length;
}

/** The value of a variable in the environment that a process was started with; undefined when this user may not read it. */
export async function variableOf(pid: number, name: string): Promise<string | undefined> {
  const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
  return environment
    .split('\0')
    .find((entry) => entry.startsWith(`${name}=`))
    ?.slice(name.length + 1);
}

export type Kill = (pid: number) => void;
export const killProcess: Kill = (pid) => {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has just ended, or it is not ours: the next look shows which.
  }
};

/** How processes are ended; a test gives up earlier. */
export interface Ending {
  readonly kill: Kill;
  readonly withinMs: number;
}
export const defaultEnding: Ending = { kill: killProcess, withinMs: 10_000 };

/** Kills processes until `find` returns none. Returns those that are left at the deadline. */
export async function endProcesses(
  find: () => Promise<readonly FoundProcess[]>,
  { kill, withinMs }: Ending,
): Promise<readonly FoundProcess[]> {
  const until = performance.now() + withinMs;
  for (;;) {
    const found = await find();
    if (found.length === 0 || performance.now() > until) return found;
    for (const { pid, startTime } of found) if ((await startTimeOf(pid)) === startTime) kill(pid);
    await delay(POLL_MS);
  }
}
