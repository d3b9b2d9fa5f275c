import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { root } from '@lastgood/testkit';

export interface Ran {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `lastgood` as a person would, in a process of its own. */
export function commandLine(
  environment: { url: string; tokenFile: string } | { url: string; token: string },
): (...args: string[]) => Promise<Ran> {
  const env = {
    ...process.env,
    LASTGOOD_URL: environment.url,
    ...('token' in environment
      ? { LASTGOOD_TOKEN: environment.token }
      : { LASTGOOD_TOKEN_FILE: environment.tokenFile }),
    NO_COLOR: '1',
    TZ: 'UTC',
  };
  return async (...args) => {
    const child = spawn(process.execPath, [join(root, 'apps/cli/src/main.ts'), ...args], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [stdout, stderr, [status]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'close') as Promise<[number | null]>,
    ]);
    return { status: status ?? -1, stdout, stderr };
  };
}
