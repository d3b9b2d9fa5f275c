import { closeSync, constants, ftruncateSync, openSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { runTool } from './run-tool.ts';

/** What flock(1) ends with when somebody else has the lock. */
const HELD = 1;
const TIMEOUT_MS = 30_000;
const { O_CREAT, O_NOFOLLOW, O_RDWR } = constants;

/** For people alone: nothing is decided by it, for a process id means nothing in another container or on another host. */
const aboutUs = (): string =>
  `process ${process.pid} of ${hostname()}, started ${new Date(performance.timeOrigin).toISOString()}`;

/** Asks the kernel for the lock of an open file, through flock(1), which inherits that file: Node has no call for it. */
async function acquire(path: string, descriptor: number): Promise<boolean> {
  try {
    const { exitCode } = await runTool({
      file: 'flock',
      args: ['-n', '0'],
      stdinFd: descriptor,
      acceptedExitCodes: [HELD],
      signal: new AbortController().signal,
      timeoutMs: TIMEOUT_MS,
    });
    return exitCode !== HELD;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    throw new Failure(error.code, `${path} cannot be locked: ${error.message}`, {
      cause: error,
      ...(error.code === 'TOOL_NOT_FOUND' ? { remedy: 'Install util-linux, which brings flock.' } : {}),
    });
  }
}

/**
 * Holds a folder for this process alone, until it is given back or the process dies (even by SIGKILL). The lock is the kernel's
 * and belongs to the open file `lock`: it holds between containers that share the folder, where process ids tell nothing, and
 * whatever ends the process ends it. The file stays, for one that is removed and made anew could be locked twice. Throws
 * ALREADY_RUNNING with the process that holds the folder.
 */
export async function lockFolder(path: string): Promise<AsyncDisposable> {
  const file = join(path, 'lock');
  // A bare descriptor: a handle that nobody refers to is closed by the collector, and the lock would go with it.
  const descriptor = openSync(file, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
  try {
    if (!(await acquire(path, descriptor))) {
      const holder = (await readFile(file, 'utf8')).trim();
      throw new Failure('ALREADY_RUNNING', `${path} is held by ${holder === '' ? 'another process' : holder}`);
    }
    ftruncateSync(descriptor);
    writeSync(descriptor, `${aboutUs()}\n`, 0);
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
  let held = true;
  return {
    async [Symbol.asyncDispose]() {
      if (!held) return;
      held = false;
      ftruncateSync(descriptor);
      closeSync(descriptor);
    },
  };
}
