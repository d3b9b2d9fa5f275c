import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

export const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));

export function start(url: string, ...args: string[]): ChildProcess {
  const env = { ...process.env, LASTGOOD_URL: url, LASTGOOD_TOKEN: 'secret-token', TZ: 'UTC', NO_COLOR: '1' };
  return spawn(process.execPath, [main, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
}
/** Runs the command line as a process of its own, to its end. */
export async function run(
  url: string,
  ...args: string[]
): Promise<{ status: unknown; stdout: string; stderr: string }> {
  const child = start(url, ...args);
  if (child.stdout === null || child.stderr === null) throw new TypeError('no pipes');
  const [stdout, stderr, [status]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { status, stdout, stderr };
}
