import { mkdir, readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryFolder } from '@lastgood/testkit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createFolderRepository, openFolderRepository } from '../src/index.ts';
import { understood } from './store.ts';

let cleanup: AsyncDisposableStack;
let base: string;

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  base = cleanup.use(await temporaryFolder()).path;
});
afterEach(() => cleanup.disposeAsync());

test('several that make one repository at once all get the same, and nothing of the others stays', async () => {
  for (let round = 0; round < 10; round += 1) {
    const path = join(base, `shared-${round}`);
    await mkdir(path, { mode: 0o700 });
    // One that was killed before left these.
    for (const rest of ['lastgood.json.partial', 'lastgood.json.0a1b2c3d.partial'])
      await writeFile(join(path, rest), '');
    const made = await Promise.all(Array.from({ length: 6 }, () => createFolderRepository({ understood, path })));
    expect(new Set(made.map(({ id }) => id)).size).toBe(1);
    expect(await readdir(path)).toEqual(['lastgood.json']);
  }
});

test("the store's clock is read from one file of each writer, which stays and is in nobody's way", async () => {
  const path = join(base, 'repository');
  await createFolderRepository({ understood, path });
  const [a, b] = await Promise.all(['a', 'b'].map((writer) => openFolderRepository({ understood, path, writer })));
  for (const writer of [a, b])
    for (const at of await Promise.all([writer?.storeNow(), writer?.storeNow()]))
      expect(Math.abs((at ?? 0) - Date.now())).toBeLessThan(60_000);
  expect(await readdir(path)).toEqual(['.clock-a', '.clock-b', 'lastgood.json']);
  await utimes(join(path, '.clock-a'), 0, 0);
  expect(await a?.storeNow()).toBeGreaterThan(Date.parse('2026-01-01T00:00:00Z'));
});
