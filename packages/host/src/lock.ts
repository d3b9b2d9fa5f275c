import { open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';

/** The start time of a process in clock ticks since boot, or undefined when it is gone; tells a reused pid apart. */
async function startOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}

/**
 * Holds a folder for this process alone. A lock whose holder died (even by SIGKILL) is taken over: the file names pid and start
 * time. Throws ALREADY_RUNNING with the pid of the holder.
 */
export async function lockFolder(path: string): Promise<AsyncDisposable> {
  const file = join(path, 'lock');
  const mine = `${process.pid} ${(await startOf(process.pid)) ?? ''}`;
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const handle = await open(file, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return undefined;
      throw error;
    });
    if (handle !== undefined) {
      await handle.writeFile(mine);
      await handle.close();
      return { [Symbol.asyncDispose]: () => rm(file, { force: true }) };
    }
    const [pid, start] = (await readFile(file, 'utf8').catch(() => '')).split(' ');
    if (pid !== undefined && pid !== '' && start !== undefined && (await startOf(Number(pid))) === start) {
      throw new Failure('ALREADY_RUNNING', `${path} is held by process ${pid}`);
    }
    await rm(file, { force: true });
  }
  throw new Failure('ALREADY_RUNNING', `${path} is being taken by another process`);
}
