/** A repository that is encrypted: what works without a private key, and what needs one. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { Failure, type ObjectStore, type Repository } from '@lastgood/core';
import { MemoryStore, temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { createIdentity, createRepository, FolderStore, keysOf, openRepository } from '../src/index.ts';
import { begin, dump, facts, from, globals, never, ref, understood } from './store.ts';

const folder = await temporaryFolder();
afterAll(() => folder[Symbol.asyncDispose]());

const SECRET = Buffer.from('a row that nobody may read '.repeat(200));
const ours = await createIdentity();
const escrow = await createIdentity();
const unrelated = await createIdentity();
const recipients = [ours.recipient, escrow.recipient];

let files = 0;
async function identityFile(...identities: readonly string[]): Promise<string> {
  const path = join(folder.path, `identity-${++files}`);
  await writeFile(path, `# created by a test\n${identities.join('\n')}\n`, { mode: 0o600 });
  return path;
}
let store: ObjectStore;
beforeEach(() => {
  store = new MemoryStore();
});

/** The repository of a host that encrypts to the recipients and has the identities of a file, if any. */
async function open(file?: string, to: readonly string[] = recipients): Promise<Repository> {
  return await createRepository(store, {
    understood,
    writer: 'ours',
    keys: keysOf({ recipients: to, identityFile: file }),
  });
}
async function publish(repository: Repository): Promise<string> {
  const writer = await begin(repository);
  await writer.add(dump, from(SECRET));
  await writer.add(globals, from(Buffer.from('create role a;')));
  const { manifest } = await writer.publish(facts, '2026-01-01T00:00:01Z');
  return manifest.backupId;
}
async function contentOf(repository: Repository, backupId: string): Promise<Buffer> {
  const { manifest, open: openArtifact } = await repository.open(ref, backupId);
  const [object] = manifest.objects;
  if (object === undefined) throw new TypeError('the backup has no object');
  return await buffer(openArtifact(object, never));
}
const codeOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => 'succeeded',
    (error: unknown) => (error instanceof Failure ? error.code : String(error)),
  );
async function namesIn(prefix = ''): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of store.list(prefix)) names.push(name);
  return names.sort();
}
const verify = (repository: Repository, backupId: string) =>
  repository.verify(ref, backupId, 1, never, () => undefined);

test('I8: stores nothing of the data in clear, and names the recipients in the manifest', async () => {
  const repository = await open();
  const backupId = await publish(repository);
  const names = await namesIn();
  expect(names.filter((name) => name.includes('/data/')).map((name) => name.split('/').at(-1))).toEqual([
    '0001.dump.zst.age',
    '0002.sql.zst.age',
  ]);
  for (const name of names) expect((await text(await store.get(name))).includes('nobody may read'), name).toBe(false);
  const { manifest, restorable } = await repository.read(ref, backupId);
  expect(manifest.encryption).toEqual({ format: 'age', recipients });
  expect(manifest.objects.map(({ encryption }) => encryption)).toEqual([manifest.encryption, manifest.encryption]);
  expect(restorable).toEqual({ ok: true });
});

test('without an identity, a host backs up, lists, verifies at levels 0 and 1, holds and removes', async () => {
  const repository = await open();
  const backupId = await publish(repository);
  expect((await repository.list(ref)).backups.map(({ manifest }) => manifest.backupId)).toEqual([backupId]);
  expect(await verify(repository, backupId)).toEqual([]);
  expect(await repository.hold(ref, backupId, { reason: 'x', by: 'alice', at: '2026-01-02T00:00:00Z' })).toBe(true);
  expect(await repository.release(ref, backupId)).toBe(true);
  expect(await repository.remove(ref, backupId, 0)).toBeGreaterThan(0);
});

test('B20: restoring needs an identity of one of the recipients, and says so before it reads any data', async () => {
  const backupId = await publish(await open());
  for (const file of [undefined, await identityFile(unrelated.identity)])
    await expect((await open(file)).open(ref, backupId)).rejects.toMatchObject({
      code: 'IDENTITY_NEEDED',
      remedy: expect.stringContaining('identityFile'),
    });
  for (const { identity } of [ours, escrow]) {
    const repository = await open(await identityFile(unrelated.identity, identity));
    expect((await contentOf(repository, backupId)).equals(SECRET)).toBe(true);
  }
});

test('B20: after the recipients changed, old backups need an old identity and new ones a new one', async () => {
  const old = await publish(await open());
  const next = await createIdentity();
  const young = await publish(await open(undefined, [next.recipient]));
  const onlyNext = await open(await identityFile(next.identity), [next.recipient]);
  expect([await codeOf(contentOf(onlyNext, old)), await codeOf(contentOf(onlyNext, young))]).toEqual([
    'IDENTITY_NEEDED',
    'succeeded',
  ]);
  const both = await open(await identityFile(next.identity, ours.identity), [next.recipient]);
  expect([await codeOf(contentOf(both, old)), await codeOf(contentOf(both, young))]).toEqual([
    'succeeded',
    'succeeded',
  ]);
});

test('a repository holds encrypted backups beside others that are not', async () => {
  const clear = await createRepository(store, { understood, writer: 'ours' });
  const backupId = await publish(clear);
  const encrypted = await open(await identityFile(ours.identity));
  const second = await publish(encrypted);
  for (const each of [backupId, second]) expect((await contentOf(encrypted, each)).equals(SECRET)).toBe(true);
  expect(await codeOf(contentOf(await openRepository(store, { understood }), second))).toBe('IDENTITY_NEEDED');
});

test('B10: verification without an identity finds changed, cut and swapped ciphertext, and a restore refuses it', async () => {
  const repository = await open(await identityFile(ours.identity));
  for (const harm of [
    (first: Buffer): Buffer => {
      const at = first.length >> 1;
      const bytes = Buffer.from(first);
      bytes.writeUInt8(bytes.readUInt8(at) ^ 4, at);
      return bytes;
    },
    (first: Buffer): Buffer => first.subarray(0, -1),
    (_first: Buffer, second: Buffer): Buffer => second,
  ]) {
    const backupId = await publish(repository);
    const [first = '', second = ''] = await namesIn(`test/db-1/shop/backups/${backupId}/data/`);
    const bytes = await Promise.all([first, second].map(async (name) => await buffer(await store.get(name))));
    await store.put(first, harm(bytes[0] ?? Buffer.alloc(0), bytes[1] ?? Buffer.alloc(0)));
    expect(await verify(await open(), backupId)).toMatchObject([{ object: 'data/0001.dump.zst.age' }]);
    expect(await codeOf(contentOf(repository, backupId))).toBe('BACKUP_CORRUPT');
  }
});

test('refuses identity files that others can read, that hold something else, or that do not exist', async () => {
  const backupId = await publish(await open());
  const path = await identityFile(ours.identity);
  const readable = join(folder.path, 'readable');
  await writeFile(readable, `${ours.identity}\n`, { mode: 0o644 });
  const other = await identityFile('ssh-ed25519 AAAA');
  const damaged = await identityFile(`${ours.identity.slice(0, -1)}X`);
  const codes: string[] = [];
  for (const file of [path, readable, other, damaged, join(folder.path, 'none')])
    codes.push(await codeOf((await open(file)).open(ref, backupId)));
  expect(codes).toEqual(['succeeded', 'DATA_FOLDER_UNSAFE', 'CONFIG_INVALID', 'CONFIG_INVALID', 'CONFIG_INVALID']);
});

const segment = (bytes: string) => (): Readable => Readable.from([Buffer.from(bytes)], { objectMode: false });

test('I5: log segments are encrypted; appending one again succeeds, and other bytes are refused', async () => {
  const log = (await open()).log(ref, 'wal');
  expect(await log.append('0001', segment('one'))).toMatchObject({ isNew: true });
  expect(await log.append('0001', segment('one'))).toMatchObject({ isNew: false });
  expect(await codeOf(log.append('0001', segment('two')))).toBe('SEGMENT_CONFLICT');
  expect(await log.list()).toEqual(['0001']);
  const reading = (await open(await identityFile(ours.identity))).log(ref, 'wal');
  expect(await text(await reading.read('0001', never))).toBe('one');
  expect(await codeOf(log.read('0001', never).then((stream) => text(stream)))).toBe('IDENTITY_NEEDED');
});

test('I5: of concurrent appends of the same encrypted segment one is kept, and nothing else is left', async () => {
  const [first, second] = [(await open()).log(ref, 'wal'), (await open()).log(ref, 'wal')];
  const appended = await Promise.all([first, second].map((log) => log.append('0001', segment('one'))));
  expect(appended.map(({ isNew }) => isNew).toSorted()).toEqual([false, true]);
  expect(await namesIn('test/db-1/shop/logs/')).toHaveLength(2);
  const reading = (await open(await identityFile(ours.identity))).log(ref, 'wal');
  expect(await text(await reading.read('0001', never))).toBe('one');
});

test('B11: an encrypted segment whose data was lost is reported, and its claim stays', async () => {
  const log = (await open()).log(ref, 'wal');
  await log.append('0001', segment('one'));
  const [data = ''] = (await namesIn('test/db-1/shop/logs/')).filter((name) => name.endsWith('.age'));
  await store.remove(data);
  expect(await codeOf(log.append('0001', segment('one')))).toBe('BACKUP_CORRUPT');
  expect(await log.list()).toEqual(['0001']);
});

test('encrypts in a folder as well', async () => {
  const path = join(folder.path, 'repository');
  await mkdir(path, { mode: 0o700 });
  store = new FolderStore({ path, clockOwner: 'test' });
  const repository = await open(await identityFile(ours.identity));
  expect((await contentOf(repository, await publish(repository))).equals(SECRET)).toBe(true);
});
