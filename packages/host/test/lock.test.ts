import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
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
function contender(go: string): { said: () => string; end: () => Promise<void> } {
  const said = join(base, `said-${process.hrtime.bigint()}`);
  const stop = new AbortController();
  const args = [child, 'lock', folder, go, said];
  const running = runTool({ file: process.execPath, args, timeoutMs: 60_000, signal: stop.signal }).catch(
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
  expect(await readdir(folder)).toEqual([]);
  await using _again = await lockFolder(folder);
  expect(await readdir(folder)).toEqual([expect.stringMatching(/^lock-\d+-\d+$/)]);
});

for (const [what, left] of [
  ['no lock', null],
  ['the lock of a process that is gone', 'lock-999999999-1'],
  ['a lock whose process id was given to another process', `lock-${process.pid}-1`],
] as const)
  test(`J4, C6: of six processes that start at once over ${what} exactly one holds the folder`, async () => {
    for (let round = 0; round < 3; round += 1) {
      const go = join(base, `go-${process.hrtime.bigint()}`);
      if (left !== null) await writeFile(join(folder, left), 'held');
      const all = Array.from({ length: 6 }, () => contender(go));
      await vi.waitFor(() => expect(all.every(({ said }) => said() === 'ready')).toBe(true), 30_000);
      await writeFile(go, '');
      await vi.waitFor(
        () => expect(all.every(({ said }) => /^(held|ALREADY_RUNNING)/.test(said()))).toBe(true),
        30_000,
      );
      expect(all.filter(({ said }) => said().startsWith('held'))).toHaveLength(1);
      const [lock = '', ...others] = await readdir(folder);
      expect([others, await readFile(join(folder, lock), 'utf8')]).toEqual([[], 'held']);
      // All are killed: the next round takes over.
      for (const one of all) await one.end();
    }
  });
