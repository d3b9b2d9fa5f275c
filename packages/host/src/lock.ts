import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Failure } from '@lastgood/core';

const TRIES = 40;
const LONGEST_PAUSE_MS = 50;
const CLAIM = /^lock-(\d+)-(\d+)$/;

/** The start time of a process in clock ticks since boot, or undefined when it is gone; tells a reused pid apart. */
async function startOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}

interface Claim {
  readonly pid: string;
  readonly held: boolean;
}

/** Claims of other processes that run. Those of dead ones are removed: their names are theirs alone, nobody makes them again. */
async function otherClaims(path: string, own: string): Promise<Claim[]> {
  const claims: Claim[] = [];
  for (const name of await readdir(path)) {
    const [, pid, start] = CLAIM.exec(name) ?? [];
    if (pid === undefined || name === own) continue;
    const file = join(path, name);
    if ((await startOf(Number(pid))) !== start) await rm(file, { force: true });
    else claims.push({ pid, held: (await readFile(file, 'utf8').catch(() => '')) === 'held' });
  }
  return claims;
}

/**
 * Holds a folder for this process alone, until it is given back or the process dies (even by SIGKILL). Each process makes a claim
 * under a name of its own and then looks for others: of two, at least one sees the other and steps back, so that never both hold
 * the folder. Throws ALREADY_RUNNING with the pid of the holder.
 */
export async function lockFolder(path: string): Promise<AsyncDisposable> {
  const own = `lock-${process.pid}-${(await startOf(process.pid)) ?? '0'}`;
  const file = join(path, own);
  const refuse = (pid: string | number): Failure => new Failure('ALREADY_RUNNING', `${path} is held by process ${pid}`);
  let contender = '';
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    await writeFile(file, 'claimed', { mode: 0o600, flag: 'wx' }).catch((error: NodeJS.ErrnoException) => {
      throw error.code === 'EEXIST' ? refuse(process.pid) : error;
    });
    const others = await otherClaims(path, own);
    const [first] = others;
    if (first === undefined) {
      await writeFile(file, 'held');
      return { [Symbol.asyncDispose]: () => rm(file, { force: true }) };
    }
    await rm(file, { force: true });
    const holder = others.find((claim) => claim.held);
    if (holder !== undefined) throw refuse(holder.pid);
    contender = first.pid;
    await delay(Math.random() * LONGEST_PAUSE_MS);
  }
  throw refuse(contender);
}
