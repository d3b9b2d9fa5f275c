import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';

const SETPRIV = '/usr/bin/setpriv';

export interface RunningProcess extends AsyncDisposable {
  readonly pid: number;
  readonly child: ChildProcess;
  /** Resolves when the program exits with 0 or was ended by `kill`; otherwise rejects with the end of its output. */
  readonly ended: Promise<void>;
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Returns the end of its output. */
  printed(): string;
}

/** Starts a program of Node. An unexpected exit aborts `stopping`. */
export const startProcess = (
  name: string,
  args: readonly string[],
  stopping: AbortController | undefined,
  env: Record<string, string> = {},
): Promise<RunningProcess> => startCommand(name, [process.execPath, ...args], stopping, env);

/** Starts a program. An unexpected exit aborts `stopping`. */
export async function startCommand(
  name: string,
  command: readonly [string, ...string[]],
  stopping: AbortController | undefined,
  env: Record<string, string> = {},
): Promise<RunningProcess> {
  // The program dies with the process that started it, even after SIGKILL.
  const tied: readonly string[] = existsSync(SETPRIV) ? [SETPRIV, '--pdeathsig', 'TERM', '--', ...command] : command;
  const [file = command[0], ...args] = tied;
  const child = spawn(file, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    env: { ...process.env, ...env },
  });
  let tail = '';
  let isEnding = false;
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      tail = (tail + text).slice(-1_000_000);
    });
  const exit = once(child, 'close').then(([code, signal]) => {
    if (code === 0 || isEnding) return;
    const reason = new Error(`${name} ended with ${String(code ?? signal)}: ${tail.slice(-4000).trim()}`);
    reason.name = 'ProcessEnded';
    stopping?.abort(reason);
    throw reason;
  });
  exit.catch(() => undefined);
  await once(child, 'spawn');
  const kill = async (signal: NodeJS.Signals): Promise<void> => {
    isEnding = true;
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
