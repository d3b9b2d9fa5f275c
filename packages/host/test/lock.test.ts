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
/** A process that takes the lock when `go` appears, says what became of it, and holds what it got until it is ended. */
function contender(go: string, contained = false): { said: () => string; end: () => Promise<void> } {
  const said = join(base, `said-${process.hrtime.bigint()}`);
  const stop = new AbortController();
  const program = [process.execPath, child, 'lock', folder, go, said];
  const [file = '', ...args] = contained ? ['unshare', '-pf', '--mount-proc', '--kill-child', ...program] : program;
  // While it waits for its child, unshare is deaf to SIGTERM.
  const running = runTool({ file, args, timeoutMs: 60_000, signal: stop.signal, stopSignal: 'SIGQUIT' }).catch(
    () => undefined,
  );
  return {
    said: () => (existsSync(said) ? readFileSync(said, 'utf8') : ''),
    end: async () => {
      stop.abort();
      await running;
    },
  };
}

test('J4, C6: a folder is held by one process, which the refusal names, and free when it is given back', async () => {
  const held = await lockFolder(folder);
  const refused = await lockFolder(folder).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(Failure);
  expect(refused).toMatchObject({ code: 'ALREADY_RUNNING', message: expect.stringContaining(String(process.pid)) });
  await held[Symbol.asyncDispose]();
  expect(await readFile(join(folder, 'lock'), 'utf8')).toBe('');
  await using _again = await lockFolder(folder);
  expect(await readFile(join(folder, 'lock'), 'utf8')).toContain(`process ${process.pid} of ${hostname()}`);
  expect((await stat(join(folder, 'lock'))).mode & 0o777).toBe(0o600);
});

test('what a lock file says does not hold a folder, and a link in its place is not followed', async () => {
  await writeFile(join(folder, 'lock'), 'process 1 of here, started long ago\n');
  const held = await lockFolder(folder);
  await held[Symbol.asyncDispose]();
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

test('J4, C6: a tool that outlives its process takes no lock along', async () => {
  const pidFile = join(base, `pid-${process.hrtime.bigint()}`);
  const script = join(base, 'holder.ts');
  const host = new URL('../src/index.ts', import.meta.url).href;
  // The lock is taken, then a child begins that stays when its parent is killed.
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
    await using _held = await lockFolder(folder);
  } finally {
    process.kill(survivor, 'SIGKILL');
  }
});

for (const [what, left] of [
  ['no lock', null],
  ['the lock of a process that was killed', 'process 999999999 of elsewhere\n'],
] as const)
  test(`J4, C6: of six processes that start at once over ${what} exactly one holds the folder`, async () => {
    for (let round = 0; round < 3; round += 1) {
      const go = join(base, `go-${process.hrtime.bigint()}`);
      if (left !== null) await writeFile(join(folder, 'lock'), left);
      const all = Array.from({ length: 6 }, () => contender(go));
      await vi.waitFor(() => expect(all.every(({ said }) => said() === 'ready')).toBe(true), 30_000);
      await writeFile(go, '');
      await vi.waitFor(
        () => expect(all.every(({ said }) => /^(held|ALREADY_RUNNING)/.test(said()))).toBe(true),
        30_000,
      );
      expect(all.filter(({ said }) => said().startsWith('held'))).toHaveLength(1);
      // All are killed: the next round takes over.
      for (const one of all) await one.end();
    }
  });

const noNamespaces = ((): string => {
  if (process.getuid?.() !== 0) return 'needs root to make process namespaces';
  return spawnSync('unshare', ['-pf', '--mount-proc', 'true']).status === 0
    ? ''
    : 'unshare cannot make namespaces here';
})();
test.skipIf(noNamespaces !== '')(
  `J4: two containers that share a folder do not both hold it, though neither sees the other's processes (${noNamespaces || 'unshare'})`,
  async () => {
    const go = join(base, `go-${process.hrtime.bigint()}`);
    await writeFile(go, '');
    const first = contender(go, true);
    await vi.waitFor(() => expect(first.said()).toBe('held'), 30_000);
    const second = contender(go, true);
    await vi.waitFor(() => expect(second.said()).toMatch(/^ALREADY_RUNNING.*held by process \d+ of/), 30_000);
    await expect(lockFolder(folder)).rejects.toMatchObject({ code: 'ALREADY_RUNNING' });
    // Killed, it leaves nothing that must be cleared away.
    await first.end();
    const third = contender(go, true);
    await vi.waitFor(() => expect(third.said()).toBe('held'), 30_000);
    for (const one of [second, third]) await one.end();
  },
);
