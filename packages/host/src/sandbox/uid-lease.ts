import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure, type RestoreTestLimits } from '@lastgood/core';
import { tryLockFile } from '../lock.ts';
import {
  defaultEnding,
  type Ending,
  endProcesses,
  type FoundProcess,
  findProcesses,
  namespaceDepthOf,
  userOf,
} from './processes.ts';

/** Shared by all agents of a host: none takes a user id that another one uses. */
const LOCKS = '/run/lastgood/restore-tests';
const ATTEMPTS = 50;

/** A user id that belongs to one restore test alone. */
export interface UidLease extends AsyncDisposable {
  readonly uid: number;
}

/** A sandbox is one PID namespace below its agent. What is deeper belongs to the agent of a container, which has locks of its own. */
const SANDBOX_DEPTH = 2;

/** The processes of a user id, or of a range of them. */
export const processesOf = (first: number, last = first): Promise<FoundProcess[]> =>
  findProcesses(async (pid) => {
    const uid = await userOf(pid);
    return uid !== undefined && uid >= first && uid <= last && (await namespaceDepthOf(pid)) <= SANDBOX_DEPTH;
  });

export const stillRunning = (found: readonly FoundProcess[]): Failure =>
  new Failure(
    'RESTORE_TEST_STILL_RUNNING',
    `processes of a restore test cannot be ended: ${found.map(({ pid }) => pid).join(', ')}`,
  );

async function lockUid(uid: number): Promise<AsyncDisposable | null> {
  try {
    await mkdir(LOCKS, { recursive: true, mode: 0o700 });
    return await tryLockFile(join(LOCKS, String(uid)));
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure('IO_ERROR', `cannot write in ${LOCKS}`, {
      cause: error,
      remedy: 'Let the agent write there: it locks the user ids of restore tests.',
    });
  }
}

/**
 * Takes a user id of the range that no other restore test of this host has, and ends what an interrupted one has left with it. Throws
 * RESTORE_TEST_STILL_RUNNING when that does not end, CONFLICT when the range is used up.
 */
export async function leaseUid(
  { first, count }: RestoreTestLimits['uids'],
  ending: Ending = defaultEnding,
): Promise<UidLease> {
  const start = Math.floor(Math.random() * count);
  for (let step = 0; step < Math.min(count, ATTEMPTS); step += 1) {
    const uid = first + ((start + step) % count);
    const lock = await lockUid(uid);
    if (lock === null) continue;
    const left = await endProcesses(() => processesOf(uid), ending);
    if (left.length === 0) return { uid, [Symbol.asyncDispose]: () => lock[Symbol.asyncDispose]() };
    await lock[Symbol.asyncDispose]();
    throw stillRunning(left);
  }
  throw new Failure('CONFLICT', `${count} restore tests run on this host, one for each user id of the agent file`, {
    remedy: 'Wait until one has ended, or raise restoreTests.uids.count in the agent file.',
  });
}

/** Ends the processes of the range whose restore test is gone. Returns what it has ended. Throws RESTORE_TEST_STILL_RUNNING. */
export async function sweepUids(
  { first, count }: RestoreTestLimits['uids'],
  ending: Ending = defaultEnding,
): Promise<string[]> {
  const found = await processesOf(first, first + count - 1);
  const swept: string[] = [];
  for (const uid of new Set(await Promise.all(found.map(({ pid }) => userOf(pid))))) {
    const lock = uid === undefined ? null : await lockUid(uid);
    if (uid === undefined || lock === null) continue;
    await using _lock = lock;
    const ours = await processesOf(uid);
    const left = await endProcesses(() => processesOf(uid), ending);
    if (left.length > 0) throw stillRunning(left);
    if (ours.length > 0) swept.push(`${ours.length} processes of an interrupted restore test (user ${uid})`);
  }
  return swept;
}
