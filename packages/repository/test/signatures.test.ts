import { generateKeyPairSync } from 'node:crypto';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { candidatesOf, type Repository } from '@lastgood/core';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { canonicalJson } from '../src/format/canonical-json.ts';
import { sealManifest } from '../src/format/manifest.ts';
import { sha256 } from '../src/format/metadata.ts';
import { createFolderRepository, type Signer, signerWith } from '../src/index.ts';
import { failureOf, folderOf, never, publish, ref, understood } from './store.ts';

const host = signerWith(generateKeyPairSync('ed25519').privateKey);
const unknownSigner = signerWith(generateKeyPairSync('ed25519').privateKey);
const former = signerWith(generateKeyPairSync('ed25519').privateKey);

let path: string;
let repository: Repository;
let backupId: string;

const openFor = (signer: Signer, ...others: Signer[]): Promise<Repository> => {
  const trusted = new Set([signer, ...others].map(({ keyId }) => keyId));
  return createFolderRepository({ understood, path, writer: 'host', signer, trusted });
};
beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'lg-signatures-'));
  repository = await openFor(host);
  backupId = await publish(repository);
});
afterEach(() => rm(path, { recursive: true, force: true }));

const manifestFile = (id = backupId): string => join(folderOf(path, id), 'manifest.json');
const verify = (level: 0 | 1) => repository.verify(ref, backupId, level, never, () => undefined);
/** The manifest of the backup without what sealing adds. */
async function contentOf(id = backupId) {
  const { checksum: _sum, keyId: _key, signature: _sign, ...content } = (await repository.read(ref, id)).manifest;
  return content;
}

test('attack-B10: a host signs its manifests, and its owner file names the key', async () => {
  const { manifest, restorable } = await repository.read(ref, backupId);
  expect([manifest.keyId, restorable]).toEqual([host.keyId, { ok: true }]);
  expect(manifest.signature).toMatch(/^[\w-]{86}$/);
  expect(await verify(1)).toEqual([]);
  const owner: unknown = JSON.parse(await readFile(join(path, 'test/db-1/shop/owner.json'), 'utf8'));
  expect(owner).toMatchObject({ installId: 'host', keyId: host.keyId });
});

test('attack-B10: a manifest that was altered and given a new checksum is damage', async () => {
  const { checksum: _checksum, ...manifest } = (await repository.read(ref, backupId)).manifest;
  const altered = { ...manifest, recoveryPoint: '2031-01-01T00:00:00Z' };
  await writeFile(manifestFile(), canonicalJson({ ...altered, checksum: sha256(canonicalJson(altered)) }));
  expect((await repository.list(ref)).broken).toMatchObject([{ backupId, error: { code: 'MANIFEST_INVALID' } }]);
  expect(await verify(1)).toMatchObject([{ code: 'MANIFEST_UNREADABLE' }]);
  expect(await failureOf(repository.open(ref, backupId))).toMatchObject({ code: 'MANIFEST_INVALID' });
});

test.for([
  ['without a signature', undefined, 'UNSIGNED', 'MANIFEST_NOT_SIGNED'],
  ['by another key', unknownSigner, 'UNKNOWN_KEY', 'MANIFEST_KEY_UNKNOWN'],
] as const)(
  'attack-B10: a forged backup %s is reported, not restored and not removed',
  async ([, signer, code, finding]) => {
    await writeFile(manifestFile(), sealManifest(await contentOf(), signer).text);
    const { backups, broken } = await repository.list(ref);
    expect([backups, broken]).toMatchObject([[{ restorable: { ok: false, reason: { code } } }], []]);
    expect(await verify(1)).toMatchObject([{ level: 1, code: finding }]);
    for (const action of [repository.open(ref, backupId), repository.remove(ref, backupId, 0)])
      expect(await failureOf(action)).toMatchObject({ code: 'BACKUP_UNTRUSTED' });
  },
);

test('attack-B10: the signed manifest of another backup, or of an earlier one in its place, is damage', async () => {
  const later = await publish(repository);
  await cp(folderOf(path, backupId), folderOf(path, later), { recursive: true });
  const { backups, broken } = await repository.list(ref);
  expect(backups.map(({ manifest }) => manifest.backupId)).toEqual([backupId]);
  expect(broken).toMatchObject([{ backupId: later, error: { code: 'MANIFEST_INVALID' } }]);
});

test('backups of another host are restorable once its key is trusted', async () => {
  await writeFile(manifestFile(), sealManifest(await contentOf(), former).text);
  expect(await failureOf(repository.open(ref, backupId))).toMatchObject({ code: 'BACKUP_UNTRUSTED' });
  repository = await openFor(host, former);
  expect((await repository.open(ref, backupId)).manifest.keyId).toBe(former.keyId);
  expect(await verify(1)).toEqual([]);
});

test('a repository that is opened for everything still refuses a signature that is wrong', async () => {
  await writeFile(manifestFile(), sealManifest(await contentOf(), unknownSigner).text);
  const open = await createFolderRepository({ understood, path, writer: 'host', signer: host });
  expect((await open.open(ref, backupId)).manifest.keyId).toBe(unknownSigner.keyId);
  const forged = { ...(await contentOf()), keyId: host.keyId, signature: 'A'.repeat(86) };
  await writeFile(manifestFile(), canonicalJson({ ...forged, checksum: sha256(canonicalJson(forged)) }));
  expect(await failureOf(open.open(ref, backupId))).toMatchObject({ code: 'MANIFEST_INVALID' });
});

const segment = (content: string) => () => Readable.from([Buffer.from(content)], { objectMode: false });
const claimFile = (stream: string): string => join(path, `test/db-1/shop/logs/${stream}/0001.json`);
const read = async (from: Repository, stream = 'wal'): Promise<string> =>
  await text(await from.log(ref, stream).read('0001', never));

test('attack-B10: a segment whose claim was altered, forged, or moved from another stream is not read', async () => {
  await repository.log(ref, 'wal').append('0001', segment('one'));
  await repository.log(ref, 'other').append('0001', segment('two'));
  expect(await read(repository)).toBe('one');
  const own = await readFile(claimFile('wal'), 'utf8');
  await cp(join(path, 'test/db-1/shop/logs/other'), join(path, 'test/db-1/shop/logs/wal'), { recursive: true });
  expect(await failureOf(read(repository))).toMatchObject({ code: 'BACKUP_CORRUPT' });
  const claim: Record<string, unknown> = JSON.parse(own);
  await writeFile(claimFile('wal'), canonicalJson({ ...claim, keyId: null, signature: null }));
  expect(await failureOf(read(repository))).toMatchObject({ code: 'BACKUP_UNTRUSTED' });
  await writeFile(claimFile('wal'), canonicalJson({ ...claim, produced: { sha256: sha256('x'), size: 1 } }));
  expect(await failureOf(read(repository))).toMatchObject({ code: 'BACKUP_CORRUPT' });
  await writeFile(claimFile('wal'), own);
  expect(await read(repository)).toBe('one');
});

test('attack-B10: what another key has claimed as a segment is replaced by what the server of the host delivers', async () => {
  const log = repository.log(ref, 'wal');
  for (const planted of ['one', 'two']) {
    await (await openFor(unknownSigner)).log(ref, 'wal').append('0001', segment(planted));
    // Bytes of the right size under the right name, which are not those of the claim.
    for (const name of await readdir(join(claimFile('wal'), '..')))
      if (name.startsWith('0001-')) await writeFile(join(claimFile('wal'), '..', name), 'garbage');
    expect(await failureOf(read(repository))).toMatchObject({ code: 'BACKUP_UNTRUSTED' });
    expect(await log.append('0001', segment('one'))).toMatchObject({ isNew: true });
    expect(await read(repository)).toBe('one');
    await rm(claimFile('wal'));
  }
  await writeFile(claimFile('wal'), 'no claim');
  await log.append('0001', segment('one'));
  expect(await read(repository)).toBe('one');
});

test('a planted backup changes nothing for the others: no dependency, no number, no clock', async () => {
  const planted = await publish(repository);
  const content = await contentOf(planted);
  const forged = { ...content, dependsOn: [backupId], finishedAt: '2031-01-01T00:00:00Z' };
  await writeFile(manifestFile(planted), sealManifest(forged, undefined).text);
  const { backups } = await repository.list(ref);
  expect(backups.map(({ restorable }) => restorable.ok)).toEqual([true, false]);
  expect(candidatesOf(backups)[1]).toMatchObject({ state: 'unknown', dependsOn: [] });
  await repository.remove(ref, backupId, Date.now());
});

test('attack-B10: an unknown key of a forged manifest does not hide that nobody has signed it', async () => {
  const { checksum: _checksum, ...manifest } = (await repository.read(ref, backupId)).manifest;
  for (const forged of [
    { ...manifest, keyId: null, signature: null, shards: 3 },
    { ...manifest, keyId: 'x', signature: 'x' },
  ]) {
    await writeFile(manifestFile(), canonicalJson({ ...forged, checksum: sha256(canonicalJson(forged)) }));
    expect(await verify(1)).toMatchObject([
      { level: 1, code: expect.stringMatching(/^MANIFEST_(NOT_SIGNED|KEY_UNKNOWN)$/) },
    ]);
  }
});

test('a segment of a host that was lost stays as it is', async () => {
  await (await openFor(former)).log(ref, 'wal').append('0001', segment('one'));
  repository = await openFor(host, former);
  expect(await failureOf(repository.log(ref, 'wal').append('0001', segment('two')))).toMatchObject({
    code: 'SEGMENT_CONFLICT',
  });
  expect(await repository.log(ref, 'wal').append('0001', segment('one'))).toMatchObject({ isNew: false });
  expect(await read(repository)).toBe('one');
});
