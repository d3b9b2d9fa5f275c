import { closeSync, constants, ftruncateSync, openSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { runTool } from './run-tool.ts';

/** The exit status of flock(1) when another process has the lock. */
const LOCK_TAKEN = 1;
const TIMEOUT_MS = 30_000;
const { O_CREAT, O_NOFOLLOW, O_RDWR } = constants;

/** Describes this process for messages only: a process id has no meaning in another container or on another host. */
const describeProcess = (): string =>
  `process ${process.pid} of ${hostname()}, started ${new Date(performance.timeOrigin).toISOString()}`;

/** Locks an open file with flock(1), which inherits the descriptor: Node has no such call. Returns false when the lock is taken. */
async function acquire(path: string, descriptor: number): Promise<boolean> {
  try {
    const { exitCode } = await runTool({
      file: 'flock',
      args: ['-n', '0'],
      stdinFd: descriptor,
      acceptedExitCodes: [LOCK_TAKEN],
      signal: new AbortController().signal,
      timeoutMs: TIMEOUT_MS,
    });
    return exitCode !== LOCK_TAKEN;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    throw new Failure(error.code, `cannot lock ${path}: ${error.message}`, {
      cause: error,
      ...(error.code === 'TOOL_NOT_FOUND' ? { remedy: 'Install util-linux, which provides flock.' } : {}),
    });
  }
}

/**
 * Takes a kernel lock on a file, which it creates, until it is disposed or this process ends. Returns null when another process has it. The
 * file is never removed: two processes could otherwise lock two files of the same name.
 */
export async function tryLockFile(path: string): Promise<AsyncDisposable | null> {
  const descriptor = openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
  let isLocked = false;
  try {
    isLocked = await acquire(path, descriptor);
  } finally {
    if (!isLocked) closeSync(descriptor);
  }
  if (!isLocked) return null;
  return {
    async [Symbol.asyncDispose]() {
      if (!isLocked) return;
      isLocked = false;
      closeSync(descriptor);
    },
  };
}

/**
 * Locks a folder for this process until the lock is disposed or the process ends, even after SIGKILL. The lock is a kernel lock on the
 * open file `lock`, so it also works between containers that share the folder. The file is never removed: two processes could
 * otherwise lock two files of the same name. Throws ALREADY_RUNNING and names the process that holds the lock.
 */
export async function lockFolder(path: string): Promise<AsyncDisposable> {
  const file = join(path, 'lock');
  // A bare descriptor: the garbage collector closes an unreferenced file handle and would release the lock.
  const descriptor = openSync(file, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
  try {
    if (!(await acquire(path, descriptor))) {
      const holder = (await readFile(file, 'utf8')).trim();
      throw new Failure('ALREADY_RUNNING', `${path} is locked by ${holder === '' ? 'another process' : holder}`);
    }
    ftruncateSync(descriptor);
    writeSync(descriptor, `${describeProcess()}\n`, 0);
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
  let isLocked = true;
  return {
    async [Symbol.asyncDispose]() {
      if (!isLocked) return;
      isLocked = false;
      ftruncateSync(descriptor);
      closeSync(descriptor);
    },
  };
}
