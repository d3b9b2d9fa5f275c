import { setTimeout as delay } from 'node:timers/promises';
import { Failure } from '@lastgood/core';
import { z } from 'zod';
import { startWatchdog } from './freeze-watchdog.ts';
import { isSameProcess, type ProcessIdentity, processIdentitySchema, readExecutionState } from './process-identity.ts';

const STOP_WITHIN_MS = 2_000;
const POLL_MS = 2;

/** What a later process needs to continue the server: written to the journal before the server is stopped. */
export const freezeStateSchema = z.object({ server: processIdentitySchema, watchdog: processIdentitySchema });
export type FreezeState = Readonly<z.infer<typeof freezeStateSchema>>;
export interface FreezeOptions {
  readonly maxPauseMs: number;
  readonly signal: AbortSignal;
  /** Called before the server is stopped; `thawServer` takes the state after a crash. */
  readonly onArmed: (state: FreezeState) => Promise<void>;
}
export interface Frozen<T> {
  readonly result: T;
  /** How long (ms) the server did not run, from the signal that stopped it to the one that continued it. */
  readonly pauseMs: number;
}

const tooLong = (maxPauseMs: number): Failure =>
  new Failure(
    'TOOL_FAILED',
    `the server ran before its files were copied: the pause of ${maxPauseMs} ms was too short`,
    {
      remedy: 'Raise maxPauseSeconds of the target, or use a file system whose snapshots are faster.',
    },
  );

const ended = ({ pid }: ProcessIdentity): Failure =>
  new Failure('DATABASE_UNREACHABLE', `the server process ${pid} ended while it was to be paused`);

/**
 * Stops a server process, runs `work` and continues the server, whatever happens: if the agent is killed or hangs, a watchdog process
 * continues the server after `maxPauseMs` at the latest. Throws TOOL_FAILED when the server did run during `work`: what `work` read is not
 * one state then. Clients see nothing but a delay.
 */
export async function freezeWhile<T>(
  server: ProcessIdentity,
  { maxPauseMs, signal, onArmed }: FreezeOptions,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<Frozen<T>> {
  // A process that somebody else has stopped is left to them.
  if ((await readExecutionState(server))?.isStopped === true)
    throw new Failure('DATABASE_UNREACHABLE', `the server process ${server.pid} is stopped already`, {
      remedy: 'Find out who stopped the process, and continue it with SIGCONT.',
    });
  const watchdog = await startWatchdog(server, maxPauseMs, signal);
  const state = { server, watchdog };
  try {
    await onArmed(state);
    signal.throwIfAborted();
    const started = performance.now();
    const limit = AbortSignal.any([signal, AbortSignal.timeout(maxPauseMs)]);
    let pauseMs = 0;
    let result: T;
    try {
      await stopProcess(server);
      const before = await waitUntilStopped(server, signal);
      result = await work(limit).catch((error: unknown) => {
        throw limit.aborted && !signal.aborted ? tooLong(maxPauseMs) : error;
      });
      const after = await readExecutionState(server);
      if (after === null) throw ended(server);
      if (!after.isStopped || after.switches !== before) throw tooLong(maxPauseMs);
    } finally {
      await signalProcess(server, 'SIGCONT');
      pauseMs = performance.now() - started;
    }
    return { result, pauseMs };
  } finally {
    await thawServer(state);
  }
}

/**
 * Continues a server that an interrupted freeze may have left stopped, and ends its watchdog. Safe to repeat, and after a restart of the
 * host: a process that is not the same is not signaled.
 */
export async function thawServer({ server, watchdog }: FreezeState): Promise<void> {
  await signalProcess(server, 'SIGCONT');
  await signalProcess(watchdog, 'SIGTERM');
}

async function stopProcess(server: ProcessIdentity): Promise<void> {
  if (!(await signalProcess(server, 'SIGSTOP'))) throw ended(server);
}

/** Threads in a system call stop when it is over. Returns how often the process had run. */
async function waitUntilStopped(server: ProcessIdentity, signal: AbortSignal): Promise<number> {
  const until = performance.now() + STOP_WITHIN_MS;
  for (;;) {
    const state = await readExecutionState(server);
    if (state === null) throw ended(server);
    if (state.isStopped) return state.switches;
    if (performance.now() > until)
      throw new Failure('TOOL_FAILED', `the server process ${server.pid} did not stop within ${STOP_WITHIN_MS} ms`);
    await delay(POLL_MS, undefined, { signal });
  }
}

/** Sends a signal to the process itself, never to another one with its id; false when it is gone. */
async function signalProcess(target: ProcessIdentity, name: NodeJS.Signals): Promise<boolean> {
  if (!(await isSameProcess(target))) return false;
  try {
    return process.kill(target.pid, name);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ESRCH') return false;
    throw new Failure('SERVICE_FORBIDDEN', `process ${target.pid} cannot be signaled (${String(code)})`, {
      cause: error,
    });
  }
}
