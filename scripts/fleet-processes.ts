import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { AdminRouter } from '@lastgood/protocol';
import { createTRPCClient, httpLink, type TRPCClient } from '@trpc/client';

const SETPRIV = '/usr/bin/setpriv';
/** The folder of the project. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export type AdminClient = TRPCClient<AdminRouter>;

export async function adminClient(url: string, tokenFile: string): Promise<AdminClient> {
  const token = (await readFile(tokenFile, 'utf8')).trim();
  return createTRPCClient<AdminRouter>({
    links: [httpLink({ url: `${url}/trpc`, headers: { authorization: `Bearer ${token}` } })],
  });
}

/** A port that was free a moment ago on 127.0.0.1. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  return address.port;
}

export interface RunningProcess extends AsyncDisposable {
  readonly pid: number;
  readonly child: ChildProcess;
  /** Resolves when it ended with 0, rejects with the last lines it printed otherwise. */
  readonly ended: Promise<void>;
  kill(signal: NodeJS.Signals): Promise<void>;
  /** The last lines it printed. */
  printed(): string;
}

/** Starts one of our programs; when `stopping` is given, an unexpected end aborts it. */
export async function startProcess(
  name: string,
  args: string[],
  stopping: AbortController | undefined,
  env: Record<string, string> = {},
): Promise<RunningProcess> {
  // They end with the process that started them, even if it is killed.
  const dying = existsSync(SETPRIV) ? [SETPRIV, '--pdeathsig', 'TERM', '--', process.execPath] : [process.execPath];
  const [file = process.execPath, ...before] = dying;
  const child = spawn(file, [...before, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    env: { ...process.env, ...env },
  });
  let tail = '';
  let wanted = false;
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      tail = (tail + text).slice(-64_000);
    });
  const exit = once(child, 'close').then(([code, signal]) => {
    if (code === 0 || wanted) return;
    const reason = new Error(`${name} ended with ${String(code ?? signal)}: ${tail.slice(-4000).trim()}`);
    reason.name = 'ProcessEnded';
    stopping?.abort(reason);
    throw reason;
  });
  exit.catch(() => undefined);
  await once(child, 'spawn');
  const kill = async (signal: NodeJS.Signals): Promise<void> => {
    wanted = true;
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    await exit;
  };
  return {
    pid: child.pid ?? -1,
    child,
    ended: exit,
    kill,
    printed: () => tail,
    [Symbol.asyncDispose]: () => kill('SIGTERM'),
  };
}

/** Asks until there is an answer; the time only bounds a failure. */
export async function waitFor<T>(
  what: string,
  timeoutMs: number,
  signal: AbortSignal,
  ask: () => Promise<T | undefined>,
): Promise<T> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    signal.throwIfAborted();
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > end) throw new Error(`waited ${timeoutMs / 1000} s for ${what}`);
    await delay(50, undefined, { signal });
  }
}
