import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Failure } from '@lastgood/core';

/** The program of a daemon: beside our bundle when shipped, as sources while developing. */
function programOf(name: 'agent' | 'control'): string {
  const found = [`../../../${name}/src/main.ts`, `../../${name}/dist/main.mjs`]
    .map((path) => fileURLToPath(new URL(path, import.meta.url)))
    .find((path) => existsSync(path));
  if (found === undefined)
    throw new Failure('TOOL_NOT_FOUND', `the program of "lastgood ${name}" is not installed here`, {
      remedy: 'Install the whole of Lastgood on this host.',
    });
  return found;
}

/** Runs a daemon in the foreground, with our arguments, streams and signals; ends as it ends. */
export async function runDaemon(name: 'agent' | 'control', args: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [programOf(name), ...args], { stdio: 'inherit' });
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, forward);
  return await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) => resolve(code ?? (signal === null ? 1 : 128 + constants.signals[signal])));
  });
}
