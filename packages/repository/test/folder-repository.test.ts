import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  chmod,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { Failure, type Repository, summaryOf } from '@lastgood/core';
import { uuidv7 } from '@lastgood/host';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createFolderRepository, openFolderRepository } from '../src/index.ts';
import { begin as beginIn, dump, facts, from, globals, ref, understood } from './store.ts';

const signal = new AbortController().signal;
const content = Buffer.concat([randomBytes(3_000_000), Buffer.alloc(500_000, 'row ')]);
let path: string;
let repository: Repository;

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'lg-repo-'));
  repository = await createFolderRepository({ understood, path });
});
afterEach(() => rm(path, { recursive: true, force: true }));

const begin = (backupId = uuidv7(), systemId = 'sys') => beginIn(repository, backupId, systemId);
async function publishOne(): Promise<string> {
  const backupId = uuidv7();
  const writer = await begin(backupId);
  await writer.add(dump, from(content));
  await writer.add(globals, from(Buffer.from('create role a;')));
  await writer.publish(facts, '2026-01-01T00:00:01Z');
  return backupId;
}
const folderOf = (backupId: string): string => join(path, 'test', 'db-1', 'shop', 'backups', backupId);
const codeOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => 'nothing was refused',
    (error: unknown) => (error instanceof Failure ? error.code : String(error)),
  );

test('gives back the bytes that were produced, and lists the backup', async () => {
  const backupId = await publishOne();
  const source = await repository.open(ref, backupId);
  const [object] = source.manifest.objects;
  if (object === undefined) throw new TypeError('no object');
  expect((await buffer(source.open(object, signal))).equals(content)).toBe(true);
  const { backups, broken } = await repository.list(ref);
  expect(broken).toEqual([]);
  expect(backups.map((backup) => summaryOf(backup, 'local'))).toMatchObject([
    { backupId, state: 'good', sequence: 1, contents: facts.contents },
  ]);
  expect(await repository.verify(ref, backupId, 1, signal, () => undefined)).toEqual([]);
});

test('closes every folder and file to other users', async () => {
  const backupId = await publishOne();
  for (const name of await readdir(path, { recursive: true })) {
    const found = await stat(join(path, name));
    expect([name, found.mode & 0o077]).toEqual([name, 0]);
  }
  expect((await stat(join(folderOf(backupId), 'manifest.json'))).mode & 0o777).toBe(0o600);
});

test('A1, A16, B1: a backup without manifest is never listed, and a sweep removes it unless its job lives', async () => {
  const [dead, live] = [uuidv7(), uuidv7()];
  for (const id of [dead, live]) await (await begin(id)).add(dump, from(content));
  expect((await repository.list(ref)).backups).toEqual([]);
  expect(await repository.sweep(ref, new Set([live]))).toEqual([dead]);
  expect(await readdir(join(folderOf(live), '..'))).toEqual([live]);
});

test('A16: what was killed at its first or its last step is swept, or is whole', async () => {
  const [first, last] = [uuidv7(), await publishOne()];
  await begin(first);
  await unlink(join(folderOf(first), 'incomplete'));
  await writeFile(join(folderOf(first), 'incomplete.0a1b2c3d.partial'), '');
  await writeFile(join(folderOf(last), 'incomplete'), '');
  expect(await repository.sweep(ref, new Set())).toEqual([first]);
  expect(await repository.list(ref)).toMatchObject({ backups: [{ manifest: { backupId: last } }], broken: [] });
  expect(await readdir(folderOf(last))).toEqual(['data', 'manifest.json']);
});

test('B12: a backup that lost its manifest is told of, and no sweep removes what is left of it', async () => {
  const backupId = await publishOne();
  const before = await readdir(join(folderOf(backupId), 'data'));
  await unlink(join(folderOf(backupId), 'manifest.json'));
  expect(await repository.sweep(ref, new Set())).toEqual([]);
  expect(await readdir(join(folderOf(backupId), 'data'))).toEqual(before);
  expect(await repository.list(ref)).toMatchObject({
    backups: [],
    broken: [{ backupId, error: { message: expect.stringContaining('its manifest is missing') } }],
  });
});

test('a verdict that cannot be read hides the backup from nobody, and the next verification mends it', async () => {
  const backupId = await publishOne();
  await repository.recordVerified(ref, backupId, { level: 6, at: '2026-01-01T00:00:00Z', passed: true });
  await truncate(join(folderOf(backupId), 'verified.json'), 5);
  const { backups, broken } = await repository.list(ref);
  expect([broken, backups.map((backup) => summaryOf(backup, 'local'))]).toMatchObject([
    [],
    [{ backupId, state: 'good', verified: null, warnings: [{ code: 'VERDICT_UNREADABLE' }] }],
  ]);
  const { manifest } = await repository.open(ref, backupId);
  expect(manifest.backupId).toBe(backupId);
  expect(await repository.verify(ref, backupId, 1, signal, () => undefined)).toEqual([]);
  await repository.recordVerified(ref, backupId, { level: 1, at: '2026-01-02T00:00:00Z', passed: true });
  expect((await repository.read(ref, backupId)).verified).toMatchObject({ level: 1 });
});

test('a verdict that cannot be read keeps no backup from being removed', async () => {
  const backupId = await publishOne();
  await writeFile(join(folderOf(backupId), 'verified.json'), '{', { mode: 0o600 });
  await repository.remove(ref, backupId, 0);
  expect((await repository.list(ref)).backups).toEqual([]);
});

test('A2: an artifact whose tool fails after bytes flowed leaves nothing', async () => {
  const backupId = uuidv7();
  const writer = await begin(backupId);
  const failing = writer.add(dump, async (sink) => {
    sink.write(content);
    throw new Failure('TOOL_FAILED', 'pg_dump ended with 1');
  });
  expect(await codeOf(failing)).toBe('TOOL_FAILED');
  expect(existsSync(join(folderOf(backupId), 'data'))).toBe(false);
});

test('B4: a folder replaced by a symbolic link is refused', async () => {
  await publishOne();
  await rename(join(path, 'test', 'db-1'), join(path, 'elsewhere'));
  await symlink(join(path, 'elsewhere'), join(path, 'test', 'db-1'));
  expect(await codeOf(begin())).toBe('REPOSITORY_UNSAFE');
  expect(await codeOf(repository.list(ref))).toBe('REPOSITORY_UNSAFE');
});

test('B4: an object replaced by a symbolic link is never followed', async () => {
  const backupId = await publishOne();
  const object = join(folderOf(backupId), 'data', '0001.dump.zst');
  await rename(object, join(path, 'stolen'));
  await symlink(join(path, 'stolen'), object);
  expect(await repository.verify(ref, backupId, 1, signal, () => undefined)).toMatchObject([
    { level: 0, object: 'data/0001.dump.zst' },
  ]);
});

test('B5: a repository whose marker is gone or changed counts as not mounted', async () => {
  await rename(join(path, 'lastgood.json'), join(path, 'away'));
  expect(await codeOf(repository.check())).toBe('REPOSITORY_NOT_MOUNTED');
  expect(await codeOf(begin())).toBe('REPOSITORY_NOT_MOUNTED');
  expect(await codeOf(openFolderRepository({ understood, path }))).toBe('REPOSITORY_NOT_MOUNTED');
  expect(await codeOf(openFolderRepository({ understood, path, mustBeMount: path }))).toBe('REPOSITORY_NOT_MOUNTED');
});

test('a folder that holds anything else is not made a repository', async () => {
  const other = join(path, 'other');
  await mkdir(other, { mode: 0o700 });
  await writeFile(join(other, 'letter.txt'), 'x');
  expect(await codeOf(createFolderRepository({ understood, path: other }))).toBe('REPOSITORY_UNSAFE');
  expect(await readdir(other)).toEqual(['letter.txt']);
});

test('B16: a repository that others can reach is refused', async () => {
  await chmod(path, 0o755);
  expect(await codeOf(repository.check())).toBe('REPOSITORY_UNSAFE');
});

test('B11: a backup or an object that someone deleted is noticed', async () => {
  const backupId = await publishOne();
  await unlink(join(folderOf(backupId), 'data', '0001.dump.zst'));
  expect(await repository.verify(ref, backupId, 0, signal, () => undefined)).toMatchObject([
    { object: 'data/0001.dump.zst', code: 'OBJECT_MISSING' },
  ]);
  await rm(folderOf(backupId), { recursive: true });
  expect(await codeOf(repository.read(ref, backupId))).toBe('NOT_FOUND');
});

test.for(['edit', 'truncate', 'replay', 'empty'] as const)(
  'B12: a manifest changed by "%s" is not believed',
  async (how) => {
    const [older, backupId] = [await publishOne(), await publishOne()];
    const file = join(folderOf(backupId), 'manifest.json');
    const text = await readFile(file, 'utf8');
    if (how === 'edit') await writeFile(file, text.replace('"attempt":1', '"attempt":2'));
    if (how === 'truncate') await truncate(file, text.length - 20);
    if (how === 'replay') await cp(join(folderOf(older), 'manifest.json'), file);
    if (how === 'empty') await truncate(file, 0);
    expect(await codeOf(repository.open(ref, backupId))).toBe('MANIFEST_INVALID');
    expect(await repository.list(ref)).toMatchObject({
      backups: [{ manifest: { backupId: older } }],
      broken: [{ backupId }],
    });
    expect(await repository.verify(ref, backupId, 1, signal, () => undefined)).toMatchObject([
      { object: 'manifest.json' },
    ]);
  },
);

const damages = {
  flip: (bytes: Buffer) => bytes.writeUInt8((bytes.readUInt8(bytes.length >> 1) ^ 4) & 255, bytes.length >> 1),
  zero: (bytes: Buffer) => bytes.fill(0, bytes.length >> 1, (bytes.length >> 1) + 4096),
  headerFlip: (bytes: Buffer) => bytes.writeUInt8(bytes.readUInt8(5) ^ 1, 5),
} as const;
test.for(['flip', 'zero', 'headerFlip', 'truncate', 'append', 'empty', 'swap'] as const)(
  'B10, E1: an object damaged by "%s" is found by re-reading and refused when opened',
  async (how) => {
    const [other, backupId] = [await publishOne(), await publishOne()];
    const file = join(folderOf(backupId), 'data', '0001.dump.zst');
    const bytes = await readFile(file);
    if (how === 'truncate') await truncate(file, bytes.length - 1);
    else if (how === 'append') await writeFile(file, 'x', { flag: 'a' });
    else if (how === 'empty') await truncate(file, 0);
    else if (how === 'swap') await cp(join(folderOf(other), 'data', '0002.sql.zst'), file);
    else {
      damages[how](bytes);
      await writeFile(file, bytes);
    }
    const findings = await repository.verify(ref, backupId, 1, signal, () => undefined);
    expect(findings).toMatchObject([{ object: 'data/0001.dump.zst' }]);
    const source = await repository.open(ref, backupId);
    const [object] = source.manifest.objects;
    if (object === undefined) throw new TypeError('no object');
    expect(await codeOf(buffer(source.open(object, signal)))).toBe('BACKUP_CORRUPT');
  },
);

test('B13: the path of a backup holds ids and schema-checked words only', async () => {
  const writer = await begin();
  const object = await writer.add({ ...dump, contents: 'Shop "ä" ../../etc' }, from(content));
  expect(object.name).toBe('data/0001.dump.zst');
  expect(await codeOf(repository.read(ref, '../../../etc'))).toBe('BAD_INPUT');
});

test('a target folder that belongs to another server is refused', async () => {
  await publishOne();
  expect(await codeOf(begin(uuidv7(), 'another system'))).toBe('REPOSITORY_FOREIGN');
});

test('D2: the sequence counts up whatever became of earlier backups', async () => {
  await publishOne();
  const second = await publishOne();
  await repository.remove(ref, second, 0);
  const third = await publishOne();
  expect((await repository.read(ref, third)).manifest.sequence).toBe(3);
});

test('D9: a removed backup is gone for readers at once, its bytes after the grace; a crash between is finished later', async () => {
  const [kept, removed] = [await publishOne(), await publishOne()];
  await repository.remove(ref, removed, 1_000);
  expect((await repository.list(ref)).backups.map((backup) => backup.manifest.backupId)).toEqual([kept]);
  expect(await repository.purge(ref, 1_500, 1_000)).toBe(0);
  expect(await readdir(folderOf(removed))).toContain('manifest.json');
  await unlink(join(folderOf(removed), 'manifest.json')); // as if the purge had been killed after its first step
  expect(await repository.purge(ref, 2_000, 1_000)).toBeGreaterThan(0);
  await expect(readdir(folderOf(removed))).rejects.toThrow('ENOENT');
  expect(existsSync(join(path, 'test', 'db-1', 'shop', 'tombstones'))).toBe(false);
});

test('D10: a purge removes only what the manifest listed', async () => {
  const backupId = await publishOne();
  await writeFile(join(folderOf(backupId), 'data', 'keep.me'), 'x', { mode: 0o600 });
  await repository.remove(ref, backupId, 0);
  await repository.purge(ref, 10, 1);
  expect(await readdir(join(folderOf(backupId), 'data'))).toEqual(['keep.me']);
});

test('keeps the verdict of a verification beside the backup', async () => {
  const backupId = await publishOne();
  await repository.recordVerified(ref, backupId, { level: 6, at: '2026-01-01T00:00:00Z', passed: false });
  expect(summaryOf(await repository.read(ref, backupId), 'local')).toMatchObject({
    state: 'bad',
    verified: { level: 6 },
  });
});
