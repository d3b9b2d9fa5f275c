import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { root, temporaryFolder, waitFor } from '@lastgood/testkit';
import { expect, test } from 'vitest';

const forever = new AbortController().signal;

/**
 * Starts the demo of `npm start` with its own folder for temporary files. Waits until it has shown everything, or only until its
 * agent runs. Returns the demo's data folder.
 */
async function startDemo(
  tmp: string,
  until: 'agent runs' | 'all shown',
  command: readonly string[] = [process.execPath, join(root, 'scripts/demo.ts')],
): Promise<{ child: ChildProcess; folder: string }> {
  // The PostgreSQL server of the demo runs as another user and needs access.
  await chmod(tmp, 0o711);
  const present = new Set(readdirSync(tmp));
  const [file = '', ...args] = command;
  const child = spawn(file, args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, TMPDIR: tmp },
  });
  let printed = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    printed += text;
  });
  const folder = await waitFor('the demo', 240_000, forever, async () => {
    if (child.exitCode !== null) throw new TypeError(`the demo ended early:\n${printed}`);
    const name = readdirSync(tmp).find((entry) => entry.startsWith('lastgood-demo-') && !present.has(entry));
    if (name === undefined) return undefined;
    const path = join(tmp, name);
    const ready =
      until === 'agent runs'
        ? processesIn(path).some((command) => command.includes('apps/agent/src/main.ts\0run'))
        : printed.includes('LASTGOOD_TOKEN_FILE=');
    return ready ? path : undefined;
  });
  return { child, folder };
}

/** The command lines of the processes that use the folder: control plane, agent, servers. */
const processesIn = (folder: string): string[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      } catch {
        return '';
      }
    })
    .filter((command) => command.includes(folder));

test('the demo removes everything when its terminal is closed', async () => {
  await using tmp = await temporaryFolder();
  const { child, folder } = await startDemo(tmp.path, 'all shown');
  expect(processesIn(folder).length).toBeGreaterThan(2);
  child.kill('SIGHUP');
  await once(child, 'close');
  expect([existsSync(folder), processesIn(folder)]).toEqual([false, []]);
});

test('the demo ends when its parent process is gone, as npm is after a signal', async () => {
  await using tmp = await temporaryFolder();
  const shell = `${process.execPath} ${join(root, 'scripts/start.mjs')}; true`;
  const { child, folder } = await startDemo(tmp.path, 'agent runs', ['/bin/sh', '-c', shell]);
  child.kill('SIGKILL');
  await once(child, 'exit');
  await waitFor('the demo to end', 60_000, forever, async () =>
    existsSync(folder) || processesIn(folder).length > 0 ? undefined : true,
  );
});

test('a killed demo leaves no process, and the next one removes its folder', async () => {
  await using tmp = await temporaryFolder();
  const killed = await startDemo(tmp.path, 'agent runs');
  killed.child.kill('SIGKILL');
  await once(killed.child, 'close');
  await waitFor('its processes to end', 30_000, forever, async () =>
    processesIn(killed.folder).length === 0 ? true : undefined,
  );
  expect(existsSync(killed.folder)).toBe(true);
  const next = await startDemo(tmp.path, 'agent runs');
  expect(existsSync(killed.folder)).toBe(false);
  next.child.kill('SIGINT');
  await once(next.child, 'close');
});
