/** Copies of backups in other repositories. */
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { ObjectStore, Repository } from '@lastgood/core';
import { FaultyStore, MemoryStore } from '@lastgood/testkit';
import { beforeEach, expect, test } from 'vitest';
import { createIdentity, createRepository, keysOf } from '../src/index.ts';
import { begin, dump, facts, failureOf, from, globals, never, publish, ref, understood } from './store.ts';

const OPTIONS = { understood, writer: 'ours' };
const RUN = { signal: never, progress: () => undefined };
const MANIFEST = 'manifest.json';
let sourceStore: MemoryStore;
let source: Repository;
let copyStore: MemoryStore;
let faulty: FaultyStore;
let copy: Repository;
beforeEach(async () => {
  sourceStore = new MemoryStore();
  source = await createRepository(sourceStore, OPTIONS);
  copyStore = new MemoryStore();
  faulty = new FaultyStore(copyStore);
  copy = await createRepository(faulty, OPTIONS);
});

const folderOf = (backupId: string): string => `test/db-1/shop/backups/${backupId}/`;
async function bytesOf(store: ObjectStore, name: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of await store.get(name)) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
async function contentOf(store: ObjectStore, backupId: string): Promise<Record<string, string>> {
  const found: [string, string][] = [];
  for await (const { name } of store.list(folderOf(backupId)))
    found.push([name.slice(folderOf(backupId).length), (await bytesOf(store, name)).toString('base64')]);
  return Object.fromEntries(found.sort());
}
const idsIn = async (repository: Repository): Promise<string[]> =>
  (await repository.list(ref)).backups.map(({ manifest }) => manifest.backupId);
const segmentOf = (content: string) => (): Readable => Readable.from([Buffer.from(content)], { objectMode: false });

test('a copy has the bytes of its original, manifest included, and is a backup of its own', async () => {
  const backupId = await publish(source);
  expect(await source.copyTo(copy, ref, backupId, RUN)).toMatchObject({ isNew: true });
  const { 'copied.json': _mark, ...copied } = await contentOf(copyStore, backupId);
  expect(copied).toEqual(await contentOf(sourceStore, backupId));
  expect(await copy.verify(ref, backupId, 1, never, () => undefined)).toEqual([]);
  const artifact = await copy.open(ref, backupId);
  const [object] = artifact.manifest.objects;
  if (object === undefined) throw new TypeError('no object');
  expect(await text(artifact.open(object, never))).toBe('rows of the shop');
  expect(await source.copyTo(copy, ref, backupId, RUN)).toEqual({ isNew: false, copiedBytes: 0 });
});

test('a copy can be copied, and is still the backup of its first repository', async () => {
  const backupId = await publish(source);
  await source.copyTo(copy, ref, backupId, RUN);
  const third = await createRepository(new MemoryStore(), OPTIONS);
  await copy.copyTo(third, ref, backupId, RUN);
  expect((await third.read(ref, backupId)).manifest.repositoryId).toBe(source.id);
});

test('B12: rejects a manifest of another repository without the mark of a copy, or with that of another manifest', async () => {
  const backupId = await publish(source);
  await source.copyTo(copy, ref, backupId, RUN);
  const mark = `${folderOf(backupId)}copied.json`;
  const other = { manifestSha256: 'a'.repeat(64), repositoryId: source.id };
  await copyStore.put(mark, Buffer.from(JSON.stringify(other)));
  expect((await copy.list(ref)).broken).toMatchObject([{ backupId, error: { code: 'MANIFEST_INVALID' } }]);
  await copyStore.remove(mark);
  expect((await copy.list(ref)).broken).toMatchObject([{ backupId, error: { code: 'MANIFEST_INVALID' } }]);
});

test('A16: a copy that is killed at any step does not count as a backup, and the next one continues it', async () => {
  const backupId = await publish(source);
  let steps = 0;
  for (let change = 1; ; change += 1) {
    const store = new MemoryStore();
    await createRepository(store, OPTIONS);
    const dying = new FaultyStore(store);
    dying.inject = (call) => {
      if (call.change === change) dying.kill(change % 2 === 0 ? 'after' : 'before');
      return undefined;
    };
    const dead = await createRepository(dying, OPTIONS);
    const failure = await failureOf(source.copyTo(dead, ref, backupId, RUN));
    const alive = await createRepository(store, OPTIONS);
    const { backups, broken } = await alive.list(ref);
    expect(broken, `change ${change}`).toEqual([]);
    for (const { manifest } of backups)
      expect(await alive.verify(ref, manifest.backupId, 1, never, () => undefined), `change ${change}`).toEqual([]);
    await alive.sweep(ref, new Set(), new Set([backupId]));
    await source.copyTo(alive, ref, backupId, RUN);
    expect(await idsIn(alive), `change ${change}`).toEqual([backupId]);
    await alive.sweep(ref, new Set());
    const { 'copied.json': _mark, ...copied } = await contentOf(store, backupId);
    expect(copied, `change ${change}`).toEqual(await contentOf(sourceStore, backupId));
    if (failure === 'nothing was refused') break;
    steps += 1;
  }
  // The owner, the mark of the unfinished copy, two objects, the mark of the copy and the manifest.
  expect(steps).toBeGreaterThanOrEqual(6);
});

test('a copy that was interrupted sends only what is missing, and a sweep that does not expect it removes it', async () => {
  const backupId = await publish(source, Buffer.alloc(100_000, 'rows'));
  faulty.inject = ({ operation, name }) =>
    operation === 'put' && name.endsWith('.sql.zst') ? { type: 'fail' } : undefined;
  expect(await failureOf(source.copyTo(copy, ref, backupId, RUN))).toMatchObject({ code: 'IO_ERROR' });
  faulty.inject = () => undefined;
  expect(await copy.sweep(ref, new Set(), new Set([backupId]))).toEqual([]);
  const before = faulty.calls.length;
  await source.copyTo(copy, ref, backupId, RUN);
  const sent = faulty.calls.slice(before).flatMap(({ operation, name }) => (operation === 'put' ? [name] : []));
  expect(sent.filter((name) => name.includes('/data/'))).toEqual([expect.stringMatching(/\.sql\.zst$/)]);

  const other = await publish(source);
  faulty.inject = ({ operation, name }) =>
    operation === 'put' && name.endsWith(MANIFEST) ? { type: 'fail' } : undefined;
  await failureOf(source.copyTo(copy, ref, other, RUN));
  faulty.inject = () => undefined;
  expect(await copy.sweep(ref, new Set(), new Set())).toEqual([other]);
  expect(await contentOf(copyStore, other)).toEqual({});
});

test('B8: bytes that the destination changes are found by reading back, and are not a copy', async () => {
  const backupId = await publish(source);
  faulty.inject = ({ operation, name }) =>
    operation === 'put' && name.includes('/data/') ? { type: 'flip', at: 3 } : undefined;
  expect(await failureOf(source.copyTo(copy, ref, backupId, RUN))).toMatchObject({ code: 'IO_ERROR' });
  expect(await idsIn(copy)).toEqual([]);
});

test('damage of the original is not copied', async () => {
  const backupId = await publish(source);
  const name = `${folderOf(backupId)}data/0001.dump.zst`;
  const bytes = await bytesOf(sourceStore, name);
  bytes.writeUInt8(bytes.readUInt8(5) ^ 1, 5);
  await sourceStore.put(name, bytes);
  expect(await failureOf(source.copyTo(copy, ref, backupId, RUN))).toMatchObject({ code: 'BACKUP_CORRUPT' });
  expect(await idsIn(copy)).toEqual([]);
});

test('a copy that has lost or damaged an object is completed', async () => {
  const backupId = await publish(source);
  await source.copyTo(copy, ref, backupId, RUN);
  await copyStore.remove(`${folderOf(backupId)}data/0001.dump.zst`);
  await copyStore.put(`${folderOf(backupId)}data/0002.sql.zst`, Buffer.from('damage'));
  expect((await copy.list(ref)).broken).toHaveLength(1);
  expect(await source.copyTo(copy, ref, backupId, RUN)).toMatchObject({ isNew: false });
  expect(await copy.verify(ref, backupId, 1, never, () => undefined)).toEqual([]);
  expect(await idsIn(copy)).toEqual([backupId]);
});

test('what a rotation has removed is not copied again, and its purge leaves nothing', async () => {
  const backupId = await publish(source);
  await source.copyTo(copy, ref, backupId, RUN);
  await copy.remove(ref, backupId, 0);
  expect(await failureOf(source.copyTo(copy, ref, backupId, RUN))).toMatchObject({ code: 'CONFLICT' });
  await copy.purge(ref, 10, 1);
  expect(await contentOf(copyStore, backupId)).toEqual({});
});

test('A15: a target that another installation writes to receives no copies', async () => {
  const backupId = await publish(source);
  const theirs = await createRepository(copyStore, { understood, writer: 'theirs' });
  await publish(theirs);
  expect(await failureOf(source.copyTo(copy, ref, backupId, RUN))).toMatchObject({ code: 'REPOSITORY_FOREIGN' });
});

test('plain backups are not copied into an encrypted repository', async () => {
  const { recipient } = await createIdentity();
  const keys = keysOf({ recipients: [recipient] });
  const encrypted = await createRepository(new MemoryStore(), { ...OPTIONS, keys });
  const backupId = await publish(source);
  expect(await failureOf(source.copyTo(encrypted, ref, backupId, RUN))).toMatchObject({ code: 'COMMAND_UNSUPPORTED' });
  // Encrypted bytes stay encrypted where nothing is encrypted.
  const ciphered = await publish(encrypted);
  await encrypted.copyTo(copy, ref, ciphered, RUN);
  const { backups } = await copy.list(ref);
  expect(backups.flatMap(({ manifest }) => manifest.objects).every(({ encryption }) => encryption !== null)).toBe(true);
});

test('a copy into a store with object lock is locked', async () => {
  const lockStore = new MemoryStore({ capabilities: { objectLock: true }, now: () => 1_000 });
  const locking = await createRepository(lockStore, { ...OPTIONS, lockMs: 5_000 });
  const backupId = await publish(source);
  await source.copyTo(locking, ref, backupId, RUN);
  expect(await failureOf(lockStore.remove(`${folderOf(backupId)}${MANIFEST}`))).toMatchObject({
    code: 'OBJECT_LOCKED',
  });
});

test('log segments are copied from one on, with their claims, and only once', async () => {
  const log = source.log(ref, 'wal');
  for (const segment of ['0001', '0002', '0003']) await log.append(segment, segmentOf(`bytes of ${segment}`));
  const writer = await begin(source);
  await writer.add(dump, from(Buffer.from('rows')));
  await writer.add(globals, from(Buffer.from('roles')));
  const logRange = { stream: 'wal', from: '0002', to: '0002' };
  const { manifest } = await writer.publish({ ...facts, logRange }, '2026-01-01T00:00:01Z');
  await source.copyTo(copy, ref, manifest.backupId, RUN);
  const range = { streamId: 'wal', from: '0002' };
  expect(await source.copyLog(copy, ref, range, RUN)).toBe(2);
  expect(await source.copyLog(copy, ref, range, RUN)).toBe(0);
  expect(await copy.log(ref, 'wal').list()).toEqual(['0002', '0003']);
  expect(await text(await copy.log(ref, 'wal').read('0003', never))).toBe('bytes of 0003');
});

test('I5: a segment that differs in the other repository is a conflict, and stays as it is', async () => {
  const backupId = await publish(source);
  await source.copyTo(copy, ref, backupId, RUN);
  await source.log(ref, 'wal').append('0001', segmentOf('ours'));
  // A listing may lag behind: only the claim says that the segment is there.
  await faulty.freezeListing();
  await copy.log(ref, 'wal').append('0001', segmentOf('theirs'));
  expect(await failureOf(source.copyLog(copy, ref, { streamId: 'wal', from: '0001' }, RUN))).toMatchObject({
    code: 'SEGMENT_CONFLICT',
  });
  expect(await text(await copy.log(ref, 'wal').read('0001', never))).toBe('theirs');
});
