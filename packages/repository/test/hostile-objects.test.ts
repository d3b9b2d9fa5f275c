import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { zstdCompressSync } from 'node:zlib';
import type { Repository } from '@lastgood/core';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { sealManifest } from '../src/format/manifest.ts';
import { sha256 } from '../src/format/metadata.ts';
import { createFolderRepository } from '../src/index.ts';
import { failureOf, folderOf, never, publish, ref, understood } from './store.ts';

let path: string;
let repository: Repository;
/** The backup that an attacker has changed, and one that was left alone. */
let hostile: string;
let sound: string;

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'lg-hostile-'));
  repository = await createFolderRepository({ understood, path });
  hostile = await publish(repository);
  sound = await publish(repository);
});
afterEach(() => rm(path, { recursive: true, force: true }));

const manifestFile = (): string => join(folderOf(path, hostile), 'manifest.json');

/** The hostile backup is broken; the sound one is listed, can be verified, and others can be taken and removed. */
async function expectContained(): Promise<void> {
  const { backups, broken } = await repository.list(ref);
  expect(backups.map(({ manifest }) => manifest.backupId)).toEqual([sound]);
  expect(broken.map(({ backupId }) => backupId)).toEqual([hostile]);
  expect(await repository.verify(ref, sound, 1, never, () => undefined)).toEqual([]);
  const another = await publish(repository);
  await repository.remove(ref, another, Date.now());
}

test("attack-B11: a pipe in the place of a manifest is that backup's damage, and nothing waits for it", async () => {
  await unlink(manifestFile());
  execFileSync('mkfifo', [manifestFile()]);
  await expectContained();
  expect(await repository.verify(ref, hostile, 1, never, () => undefined)).toMatchObject([
    { code: 'MANIFEST_UNREADABLE' },
  ]);
});

test.for([
  [
    'facts nested 60,000 deep',
    (text: string) => text.replace('"engineFacts":{}', `"engineFacts":${'{"a":'.repeat(60_000)}1${'}'.repeat(60_000)}`),
  ],
  ['17 MiB', (text: string) => `${text}${' '.repeat(17 * 1024 * 1024)}`],
  ['half of it', (text: string) => text.slice(0, text.length / 2)],
] as const)("attack-B11: a manifest with %s is that backup's damage", async ([, change]) => {
  await writeFile(manifestFile(), change(await readFile(manifestFile(), 'utf8')));
  await expectContained();
});

test('attack-B11: a folder that is a symbolic link is refused, also by verification level 1', async () => {
  const data = join(folderOf(path, hostile), 'data');
  await rename(data, join(path, '..', `${hostile}-elsewhere`));
  await symlink(join(path, '..', `${hostile}-elsewhere`), data);
  try {
    await expectContained();
    const found = await repository.verify(ref, hostile, 1, never, () => undefined).catch((error: unknown) => error);
    expect(found).not.toEqual([]);
  } finally {
    await rm(join(path, '..', `${hostile}-elsewhere`), { recursive: true });
  }
});

test('attack-B11: decompression stops at the size that the manifest declares', async () => {
  const { checksum: _checksum, ...manifest } = (await repository.read(ref, hostile)).manifest;
  const bomb = zstdCompressSync(Buffer.alloc(200 * 1024 * 1024));
  const [object, ...others] = manifest.objects;
  if (object === undefined) throw new TypeError('no object');
  const stored = { sha256: sha256(bomb), size: bomb.length };
  const { text } = sealManifest({ ...manifest, objects: [{ ...object, stored }, ...others] }, undefined);
  await writeFile(manifestFile(), text);
  await writeFile(join(folderOf(path, hostile), object.name), bomb);
  const source = await repository.open(ref, hostile);
  const [changed] = source.manifest.objects;
  if (changed === undefined) throw new TypeError('no object');
  const before = process.memoryUsage.rss();
  expect(await failureOf(buffer(source.open(changed, never)))).toMatchObject({
    code: 'BACKUP_CORRUPT',
    message: expect.stringContaining('decodes to more bytes than its manifest declares'),
  });
  expect(process.memoryUsage.rss() - before).toBeLessThan(100 * 1024 * 1024);
});
