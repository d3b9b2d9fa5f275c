import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryFolder } from '@lastgood/testkit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Journal } from '../src/journal/journal.ts';
import { openRepository } from '../src/repositories/open-repository.ts';
import { enrollAs } from './support/enrolled.ts';

const ref = { environment: 'test', host: 'db-1', target: 'shop' };
let cleanup: AsyncDisposableStack;
let base: string;
let dataDir: string;
let path: string;

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  base = cleanup.use(await temporaryFolder()).path;
  [dataDir, path] = [join(base, 'agent'), join(base, 'disk', 'repository')];
  await mkdir(dataDir, { mode: 0o700 });
  await enrollAs(dataDir);
});
afterEach(() => cleanup.disposeAsync());

/** As the agent opens it, with the journal that is there or an empty one. */
async function open(at = path) {
  using journal = await Journal.open(join(dataDir, 'journal.sqlite'), 0);
  const repositories = { local: { type: 'folder', path: at, graceHours: 24 } } as const;
  return await openRepository(
    { dataDir, environment: 'test', host: 'db-1', repositories, trust: [] },
    'local',
    journal,
  );
}
const loseJournal = () =>
  Promise.all(['', '-wal', '-shm'].map((end) => rm(join(dataDir, `journal.sqlite${end}`), { force: true })));
const loseFile = () => rm(join(dataDir, 'repository-local.json'));
async function unmount(): Promise<void> {
  await rename(join(base, 'disk'), join(base, 'unmounted'));
  await mkdir(path, { recursive: true, mode: 0o700 });
}
async function mount(): Promise<void> {
  await rm(join(base, 'disk'), { recursive: true });
  await rename(join(base, 'unmounted'), join(base, 'disk'));
}

for (const [what, lose] of [
  ['nothing', () => Promise.resolve()],
  ['the journal', loseJournal],
  ['the file beside it', loseFile],
] as const)
  test(`B5, J5: an agent that lost ${what} makes no new repository where the disk is not mounted`, async () => {
    const { id } = await open();
    await lose();
    await unmount();
    await expect(open()).rejects.toMatchObject({ code: 'REPOSITORY_NOT_MOUNTED' });
    expect(await readdir(path)).toEqual([]);
    await mount();
    expect((await open()).id).toBe(id);
    await loseJournal();
    expect((await open()).id).toBe(id);
  });

test('B5: another disk at the same place is refused, also after the journal was lost; a new place is made', async () => {
  await open();
  await rm(path, { recursive: true });
  const other = join(base, 'other');
  await open(other);
  await rename(other, path);
  await expect(open()).rejects.toMatchObject({ code: 'REPOSITORY_NOT_MOUNTED' });
  await loseJournal();
  await expect(open(path)).resolves.toBeDefined();
});

test('J6: a truncated note does not create a new repository; the journal or an operator repairs it', async () => {
  const { id } = await open();
  await writeFile(join(dataDir, 'repository-local.json'), '{"pa', { mode: 0o600 });
  expect((await open()).id).toBe(id);
  await writeFile(join(dataDir, 'repository-local.json'), '{"pa', { mode: 0o600 });
  await loseJournal();
  await expect(open()).rejects.toMatchObject({ code: 'DATA_FOLDER_UNSAFE' });
});

test('A15, B14: an agent writes to its targets under its own installation id', async () => {
  const backup = { ref, jobId: randomUUID(), attempt: 1, engine: 'postgres', lastgoodVersion: '0.1.0' } as const;
  const begin = async () =>
    await (await open()).begin({ ...backup, backupId: randomUUID(), startedAt: '2026-01-01T00:00:00Z' }, 'sys');
  await begin();
  await enrollAs(dataDir);
  await expect(begin()).rejects.toMatchObject({ code: 'REPOSITORY_FOREIGN' });
});
