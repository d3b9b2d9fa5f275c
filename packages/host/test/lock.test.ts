import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { lockFolder, runTool } from '../src/index.ts';

const cleanup = new AsyncDisposableStack();
let base: string;
let folder: string;
beforeAll(async () => {
  base = cleanup.use(await temporaryFolder()).path;
});
beforeEach(async () => {
  folder = join(base, `at-${process.hrtime.bigint()}`);
  await mkdir(folder);
});
afterAll(() => cleanup.disposeAsync());

const child = new URL('child.ts', import.meta.url).pathname;
/** A process that tries to lock the folder when the file `go` appears, reports the result and keeps the lock until it is ended. */
function contender(go: string, contained = false): { state: () => string; end: () => Promise<void> } {
  const stateFile = join(base, `state-${process.hrtime.bigint()}`);
  const stop = new AbortController();
  const program = [process.execPath, child, 'lock', folder, go, stateFile];
  const [file = '', ...args] = contained ? ['unshare', '-pf', '--mount-proc', '--kill-child', ...program] : program;
  // While it waits for its child, unshare ignores SIGTERM.
  const running = runTool({ file, args, timeoutMs: 60_000, signal: stop.signal, stopSignal: 'SIGQUIT' }).catch(
    () => undefined,
  );
  return {
    state: () => (existsSync(stateFile) ? readFileSync(stateFile, 'utf8') : ''),
    end: async () => {
      stop.abort();
      await running;
    },
  };
}

test('J4, C6: one process locks a folder, others get an error that names it, and disposing releases the lock', async () => {
  const lock = await lockFolder(folder);
  const refused = await lockFolder(folder).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(Failure);
  expect(refused).toMatchObject({ code: 'ALREADY_RUNNING', message: expect.stringContaining(String(process.pid)) });
  await lock[Symbol.asyncDispose]();
  expect(await readFile(join(folder, 'lock'), 'utf8')).toBe('');
  await using _again = await lockFolder(folder);
  expect(await readFile(join(folder, 'lock'), 'utf8')).toContain(`process ${process.pid} of ${hostname()}`);
  expect((await stat(join(folder, 'lock'))).mode & 0o777).toBe(0o600);
});

test('ignores the text of a lock file and does not follow a symbolic link in its place', async () => {
  await writeFile(join(folder, 'lock'), 'process 1 of here, started long ago\n');
  const lock = await lockFolder(folder);
  await lock[Symbol.asyncDispose]();
  await rm(join(folder, 'lock'));
  await symlink(join(base, 'elsewhere'), join(folder, 'lock'));
  await expect(lockFolder(folder)).rejects.toThrow('ELOOP');
  expect(existsSync(join(base, 'elsewhere'))).toBe(false);
});

test('a host without flock gets a remedy that names the package', async () => {
  const path = process.env['PATH'];
  process.env['PATH'] = folder;
  try {
    await expect(lockFolder(folder)).rejects.toMatchObject({
      code: 'TOOL_NOT_FOUND',
      remedy: expect.stringContaining('util-linux'),
    });
  } finally {
    process.env['PATH'] = path;
  }
});

test('J4, C6: a child process that outlives its parent does not keep the lock', async () => {
  const pidFile = join(base, `pid-${process.hrtime.bigint()}`);
  const script = join(base, 'holder.ts');
  const host = new URL('../src/index.ts', import.meta.url).href;
  // Takes the lock, then starts a child that survives when its parent is killed.
  await writeFile(
    script,
    `import { spawn } from 'node:child_process';
    import { writeFileSync } from 'node:fs';
    import { lockFolder } from ${JSON.stringify(host)};
    await lockFolder(${JSON.stringify(folder)});
    const { pid } = spawn('sleep', ['infinity'], { detached: true, stdio: 'inherit' });
    writeFileSync(${JSON.stringify(pidFile)}, String(pid));
    process.kill(process.pid, 'SIGKILL');`,
  );
  spawnSync(process.execPath, [script], { stdio: 'ignore' });
  const survivor = Number(await readFile(pidFile, 'utf8'));
  try {
    expect(existsSync(`/proc/${survivor}`)).toBe(true);
    await using _lock = await lockFolder(folder);
  } finally {
    process.kill(survivor, 'SIGKILL');
  }
});

for (const [what, left] of [
  ['no lock', null],
  ['the lock of a process that was killed', 'process 999999999 of elsewhere\n'],
] as const)
  test(`J4, C6: exactly one of six processes that start at once over ${what} locks the folder`, async () => {
    for (let round = 0; round < 3; round += 1) {
      const go = join(base, `go-${process.hrtime.bigint()}`);
      if (left !== null) await writeFile(join(folder, 'lock'), left);
      const all = Array.from({ length: 6 }, () => contender(go));
      await vi.waitFor(() => expect(all.every(({ state }) => state() === 'ready')).toBe(true), 30_000);
      await writeFile(go, '');
      await vi.waitFor(
        () => expect(all.every(({ state }) => /^(locked|ALREADY_RUNNING)/.test(state()))).toBe(true),
        30_000,
      );
      expect(all.filter(({ state }) => state().startsWith('locked'))).toHaveLength(1);
      // All are ended: the next round must get the lock.
      for (const one of all) await one.end();
    }
  });

const noNamespaces = ((): string => {
  if (process.getuid?.() !== 0) return 'needs root to create process namespaces';
  return spawnSync('unshare', ['-pf', '--mount-proc', 'true']).status === 0
    ? ''
    : 'unshare cannot create namespaces on this machine';
})();
test.skipIf(noNamespaces !== '')(
  `J4: two containers that share a folder cannot both lock it (${noNamespaces || 'unshare'})`,
  async () => {
    const go = join(base, `go-${process.hrtime.bigint()}`);
    await writeFile(go, '');
    const first = contender(go, true);
    await vi.waitFor(() => expect(first.state()).toBe('locked'), 30_000);
    const second = contender(go, true);
    await vi.waitFor(() => expect(second.state()).toMatch(/^ALREADY_RUNNING.*locked by process \d+ of/), 30_000);
    await expect(lockFolder(folder)).rejects.toMatchObject({ code: 'ALREADY_RUNNING' });
    // Its lock ends with it; nothing has to be removed.
    await first.end();
    const third = contender(go, true);
    await vi.waitFor(() => expect(third.state()).toBe('locked'), 30_000);
    for (const one of [second, third]) await one.end();
  },
);
