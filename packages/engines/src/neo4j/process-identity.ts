import { readdir, readFile } from 'node:fs/promises';
import { z } from 'zod';

/** A process of this host. Its start time (clock ticks after the start of the host) distinguishes it from a later one with the same id. */
export const processIdentitySchema = z.object({ pid: z.int().positive(), startTime: z.string().regex(/^\d+$/) });
export type ProcessIdentity = Readonly<z.infer<typeof processIdentitySchema>>;

/** The fields of /proc/PID/stat behind the name of the program, which may hold spaces and parentheses; null without such a process. */
async function readStat(path: string): Promise<string[] | null> {
  const text = await readFile(path, 'utf8').catch(() => null);
  return text === null ? null : text.slice(text.lastIndexOf(')') + 2).split(' ');
}

/** Identifies a running process; null when there is none. */
export async function identifyProcess(pid: number): Promise<ProcessIdentity | null> {
  const startTime = (await readStat(`/proc/${pid}/stat`))?.[19];
  return startTime === undefined ? null : { pid, startTime };
}

/** True while the same process exists, even as one that nobody has waited for yet. */
export async function isSameProcess({ pid, startTime }: ProcessIdentity): Promise<boolean> {
  return (await identifyProcess(pid))?.startTime === startTime;
}

export interface ExecutionState {
  /** All threads are stopped by a signal. */
  readonly isStopped: boolean;
  /** How often any thread was given or taken a processor. Equal counts of a stopped process mean that it did not run in between. */
  readonly switches: number;
}

/** Reads whether a process is stopped; null when it is gone. */
export async function readExecutionState({ pid }: ProcessIdentity): Promise<ExecutionState | null> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => null);
  if (threads === null) return null;
  const states = await Promise.all(
    threads.map(async (thread) => await readFile(`/proc/${pid}/task/${thread}/status`, 'utf8').catch(() => '')),
  );
  // A thread that ended meanwhile has no state.
  const running = states.filter((status) => status !== '');
  return {
    isStopped: running.length > 0 && running.every((status) => /^State:\s+[Tt]/m.test(status)),
    switches: running
      .flatMap((status) => [...status.matchAll(/^(?:non)?voluntary_ctxt_switches:\s+(\d+)/gm)])
      .reduce((sum, [, count]) => sum + Number(count), 0),
  };
}
