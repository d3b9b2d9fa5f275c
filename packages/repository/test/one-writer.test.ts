import { readdir, readFile, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import type { Repository } from '@lastgood/core';
import { uuidv7 } from '@lastgood/host';
import { temporaryFolder } from '@lastgood/testkit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createFolderRepository, openFolderRepository } from '../src/index.ts';
import { begin, dump, facts, failureOf, from, never, publish, ref, targetOf, understood } from './store.ts';

let cleanup: AsyncDisposableStack;
let path: string;
let ours: Repository;
let theirs: Repository;

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  path = join(cleanup.use(await temporaryFolder()).path, 'repository');
  ours = await createFolderRepository({ understood, path, writer: 'ours' });
  theirs = await openFolderRepository({ understood, path, writer: 'theirs' });
});
afterEach(() => cleanup.disposeAsync());

const owner = (): string => join(targetOf(path), 'owner.json');
const ownerText = async (): Promise<unknown> => JSON.parse(await readFile(owner(), 'utf8'));
const FOREIGN = { code: 'REPOSITORY_FOREIGN', remedy: expect.stringContaining('owner.json: the next backup takes') };

test('A15, B14: others can read what an installation writes, and change nothing', async () => {
  const backupId = await publish(ours);
  const incomplete = uuidv7();
  await (await begin(ours, incomplete)).add(dump, from(Buffer.from('rows')));
  await ours.remove(ref, await publish(ours), 0);
  const verdict = { level: 1, at: '2026-01-01T00:00:00Z', passed: false } as const;
  for (const repository of [theirs, await openFolderRepository({ understood, path })])
    for (const change of [
      () => begin(repository),
      () => repository.remove(ref, backupId, 0),
      () => repository.purge(ref, 10, 1),
      () => repository.sweep(ref, new Set()),
      () => repository.recordVerified(ref, backupId, verdict),
    ])
      expect(await failureOf(change())).toMatchObject(FOREIGN);
  expect(await readdir(join(targetOf(path), 'backups'))).toHaveLength(3);
  const { backups, broken } = await theirs.list(ref);
  expect([backups.map(({ manifest }) => manifest.backupId), broken]).toEqual([[backupId], []]);
  expect(await theirs.verify(ref, backupId, 1, never, () => undefined)).toEqual([]);
  const { manifest, open } = await theirs.open(ref, backupId);
  const [object] = manifest.objects;
  if (object === undefined) throw new TypeError('no object');
  expect((await buffer(open(object, never))).toString()).toBe('rows of the shop');
});

test('B14: a target without the id of an installation is adopted by the next backup', async () => {
  const backupId = await publish(ours);
  await writeFile(owner(), '{"systemId":"sys"}', { mode: 0o600 });
  expect(await theirs.sweep(ref, new Set())).toEqual([]);
  expect(await ownerText()).toEqual({ systemId: 'sys' });
  await publish(theirs);
  expect(await ownerText()).toEqual({ systemId: 'sys', installId: 'theirs', keyId: null });
  expect(await failureOf(ours.remove(ref, backupId, 0))).toMatchObject(FOREIGN);
});

test('B14: a target is taken over by removing its owner; a backup that the former one had begun is not published', async () => {
  const writer = await begin(ours);
  await writer.add(dump, from(Buffer.from('rows')));
  await unlink(owner());
  const backupId = await publish(theirs);
  expect(await failureOf(writer.publish(facts, '2026-01-01T00:00:01Z'))).toMatchObject(FOREIGN);
  expect((await theirs.list(ref)).backups.map(({ manifest }) => manifest.backupId)).toEqual([backupId]);
});

test('F3: the backups of a server that was replaced are refused until their owner is removed', async () => {
  await publish(ours);
  expect(await failureOf(begin(ours, uuidv7(), 'a new server'))).toMatchObject({
    ...FOREIGN,
    message: 'test/db-1/shop holds backups of system sys, not of a new server',
  });
});

test('B14: a target that was disowned on purpose belongs to the next writer, with all its backups', async () => {
  const before = await publish(ours);
  await expect(theirs.checkOwner(ref, 'sys')).rejects.toMatchObject({ code: 'REPOSITORY_FOREIGN' });
  await expect(ours.checkOwner(ref, 'another server')).rejects.toMatchObject({ code: 'REPOSITORY_FOREIGN' });
  expect([await theirs.disown(ref), await theirs.disown(ref)]).toEqual([true, false]);
  await theirs.checkOwner(ref, 'sys');
  const after = await publish(theirs);
  const { backups } = await theirs.list(ref);
  expect(backups.map(({ manifest }) => manifest.backupId)).toEqual([before, after]);
  expect(await failureOf(begin(ours))).toMatchObject({ code: 'REPOSITORY_FOREIGN' });
});
