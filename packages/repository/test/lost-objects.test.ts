import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, symlink, truncate, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Repository } from '@lastgood/core';
import { uuidv7 } from '@lastgood/host';
import { temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createFolderRepository } from '../src/index.ts';
import { begin, dump, failureOf, folderOf, from, inChild, never, publish, ref, targetOf, understood } from './store.ts';

const strace = existsSync('/usr/bin/strace');
const cleanup = new AsyncDisposableStack();
let base: string;
let path: string;
let repository: Repository;

beforeAll(async () => {
  base = cleanup.use(await temporaryFolder()).path;
});
beforeEach(async () => {
  path = join(base, uuidv7());
  repository = await createFolderRepository({ understood, path });
});
afterAll(() => cleanup.disposeAsync());

const folder = (backupId: string, ...below: string[]): string => join(folderOf(path, backupId), ...below);
const tombstone = (backupId: string): string => join(targetOf(path), 'tombstones', `${backupId}.json`);
async function listed(): Promise<{ good: string[]; broken: { backupId: string; reason: string }[] }> {
  const { backups, broken } = await repository.list(ref);
  const reasons = broken.map(({ backupId, error: { code, message } }) => ({ backupId, reason: `${code}: ${message}` }));
  return { good: backups.map(({ manifest }) => manifest.backupId), broken: reasons };
}
async function removed(): Promise<string> {
  const backupId = await publish(repository);
  await repository.remove(ref, backupId, 0);
  return backupId;
}

for (const [what, harm] of [
  ['is missing', (object: string) => unlink(object)],
  [
    'is a symbolic link',
    async (object: string) => {
      await rename(object, join(path, 'elsewhere'));
      await symlink(join(path, 'elsewhere'), object);
    },
  ],
  ['lost its last byte', async (object: string) => truncate(object, (await readFile(object)).length - 1)],
  ['lies in a folder that is gone', (object: string) => rm(join(object, '..'), { recursive: true })],
] as const)
  test(`B11: a backup of which an object ${what} is listed as broken, by the name of the object, and never as good`, async () => {
    const [kept, lost] = [await publish(repository), await publish(repository)];
    await harm(folder(lost, 'data', '0001.dump.zst'));
    expect(await listed()).toEqual({
      good: [kept],
      broken: [
        { backupId: lost, reason: expect.stringMatching(/^BACKUP_CORRUPT: data\/0001\.dump\.zst: the object /) },
      ],
    });
    expect((await repository.read(ref, lost)).manifest.backupId).toBe(lost);
    expect(await repository.verify(ref, lost, 0, never, () => undefined)).not.toEqual([]);
  });

test('B4, B11: a backup whose data folder is a symbolic link is broken, wherever it leads', async () => {
  const backupId = await publish(repository);
  await rename(folder(backupId, 'data'), join(path, 'elsewhere'));
  await symlink(join(path, 'elsewhere'), folder(backupId, 'data'));
  expect(await listed()).toMatchObject({ good: [], broken: [{ backupId }] });
});

test('D2: a broken backup keeps its number, and two never share one', async () => {
  const [lost, edited] = [await publish(repository), await publish(repository)];
  await unlink(folder(lost, 'data', '0001.dump.zst'));
  const text = await readFile(folder(edited, 'manifest.json'), 'utf8');
  await writeFile(folder(edited, 'manifest.json'), text.replace('"attempt":1', '"attempt":2'));
  const third = await publish(repository);
  expect((await repository.read(ref, third)).manifest.sequence).toBe(3);
});

test('D9: a tombstone that cannot be read removes its backup alone: it is told of, never purged, and hinders nothing else', async () => {
  const [kept, damaged, gone] = [await publish(repository), await removed(), await removed()];
  await truncate(tombstone(damaged), 7);
  expect(await listed()).toEqual({
    good: [kept],
    broken: [{ backupId: damaged, reason: expect.stringContaining(`${damaged}.json does not hold`) }],
  });
  await repository.purge(ref, 10, 1);
  expect(await readdir(join(targetOf(path), 'backups'))).toEqual([kept, damaged].sort());
  expect(existsSync(folder(gone))).toBe(false);
  await begin(repository, uuidv7());
  expect(await repository.sweep(ref, new Set())).toHaveLength(1);
  const next = await publish(repository);
  expect((await repository.read(ref, next)).manifest.sequence).toBe(3);
  await unlink(tombstone(damaged));
  expect((await listed()).good).toEqual([kept, damaged, next].sort());
});

test('A16: what was given up after its manifest had its name is removed manifest first, and the rest of it is swept', async () => {
  const backupId = uuidv7();
  const writer = await begin(repository, backupId);
  await writer.add(dump, from(Buffer.from('rows')));
  await writer.abandon();
  expect(existsSync(folder(backupId))).toBe(false);
  const [rest, kept] = [await publish(repository), await publish(repository)];
  for (const each of [rest, kept]) await writeFile(folder(each, 'incomplete'), '', { mode: 0o600 });
  for (const name of await readdir(folder(rest, 'data'))) await unlink(folder(rest, 'data', name));
  expect((await listed()).good).toEqual([kept]);
  expect(await repository.sweep(ref, new Set())).toEqual([rest]);
  expect(await readdir(folder(kept))).toEqual(['data', 'manifest.json']);
});

test('B11, A16: a marked backup that lacks one object of many is neither good nor swept: what is left of it may be needed', async () => {
  const backupId = await publish(repository);
  await writeFile(folder(backupId, 'incomplete'), '', { mode: 0o600 });
  await unlink(folder(backupId, 'data', '0002.sql.zst'));
  expect(await repository.sweep(ref, new Set())).toEqual([]);
  expect(await readdir(folder(backupId))).toEqual(['data', 'incomplete', 'manifest.json']);
  expect(await listed()).toMatchObject({ good: [], broken: [{ backupId }] });
});

test('A16: a partial file that is left alone is swept, and is no lost manifest', async () => {
  const backupId = uuidv7();
  await (await begin(repository, backupId)).add(dump, from(Buffer.from('rows')));
  for (const name of ['incomplete', 'data/0001.dump.zst']) await unlink(folder(backupId, name));
  await writeFile(folder(backupId, 'data', '0003.dump.zst.0a1b2c3d.partial'), 'x', { mode: 0o600 });
  expect(await listed()).toEqual({ good: [], broken: [] });
  expect(await repository.sweep(ref, new Set())).toEqual([backupId]);
});

for (const what of ['list', 'broken', 'sweep', 'purge'] as const)
  test.skipIf(!strace)(
    `A7: a manifest that the disk does not answer for is not gone: "${what}" loses nothing by it (needs strace)`,
    async () => {
      const [kept, gone] = [await publish(repository), await removed()];
      for (const at of what === 'purge' ? [folder(gone)] : [folder(kept, 'manifest.json'), folder(gone)]) {
        const inject = ['-o', '/dev/null', '-P', at, '-e', 'trace=statx', '-e', 'inject=statx:error=EIO'];
        const said = JSON.stringify(await inChild(inject, path, what));
        if (what === 'broken' && at === folder(kept, 'manifest.json')) expect(said).toContain('IO_ERROR');
        if (what === 'purge') expect(said).toContain('IO_ERROR');
      }
      // With its mark, one that seems to have no manifest would be taken for unfinished.
      await writeFile(folder(kept, 'incomplete'), '', { mode: 0o600 });
      const lie = ['-o', '/dev/null', '-P', folder(kept, 'manifest.json'), '-e', 'inject=statx:error=EIO'];
      if (what === 'sweep') expect(await inChild(lie, path, what)).toMatchObject({ code: 'IO_ERROR' });
      expect((await listed()).good).toEqual([kept]);
    },
  );

test.skipIf(!strace)(
  'A7: folders and files that the disk does not answer for make a call fail, and are never taken for missing (needs strace)',
  async () => {
    const backupId = await publish(repository);
    const lie = (at: string, call = 'statx') => ['-o', '/dev/null', '-P', at, '-e', `inject=${call}:error=EIO`];
    for (const at of [join(targetOf(path), 'backups'), join(targetOf(path), 'tombstones')])
      for (const what of ['list', 'sweep', 'publish'] as const)
        expect([at, what, await inChild(lie(at), path, what)]).toMatchObject([at, what, { code: 'IO_ERROR' }]);
    const owner = join(targetOf(path), 'owner.json');
    expect(await inChild(lie(owner), path, 'publish')).toMatchObject({ code: 'IO_ERROR' });
    const backups = lie(join(targetOf(path), 'backups'), 'getdents64');
    expect(await inChild(backups, path, 'list')).toMatchObject({ code: 'IO_ERROR' });
    const object = folder(backupId, 'data', '0001.dump.zst');
    expect(await inChild(lie(object), path, 'verify', backupId)).toMatchObject({ code: 'IO_ERROR' });
    expect(await readdir(join(targetOf(path), 'backups'))).toEqual([backupId]);
  },
);

test.skipIf(!strace)(
  'A7, A16: a backup that fails while its folder cannot be written tells the first cause, and is swept later (needs strace)',
  async () => {
    const lie = ['-o', '/dev/null', '-e', 'inject=unlink,unlinkat,rmdir:error=EROFS'];
    const failing = ['-e', 'inject=rename,renameat,renameat2:error=EIO:when=3'];
    const said = await inChild([...lie, ...failing], path, 'give up');
    expect(said).toMatchObject({ code: 'IO_ERROR', message: expect.stringContaining('manifest.json: EIO') });
    expect(await repository.sweep(ref, new Set())).toHaveLength(1);
  },
);

test('D9, D10: one object that cannot be removed stops the purge of no other, is named, and stays for the next purge', async () => {
  const [stuck, gone] = [await removed(), await removed()];
  const object = folder(stuck, 'data', '0001.dump.zst');
  await unlink(object);
  await mkdir(object, { mode: 0o700 });
  expect(await failureOf(repository.purge(ref, 10, 1))).toMatchObject({
    code: 'IO_ERROR',
    message: expect.stringContaining(object),
  });
  expect(existsSync(folder(gone))).toBe(false);
  expect(await readdir(folder(stuck, 'data'))).toEqual(['0001.dump.zst']);
  expect(await readdir(join(targetOf(path), 'tombstones'))).toEqual([`${stuck}.json`]);
  await rm(object, { recursive: true });
  await repository.purge(ref, 10, 1);
  expect(existsSync(folder(stuck))).toBe(false);
});
