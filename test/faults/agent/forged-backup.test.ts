import { randomUUID } from 'node:crypto';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Manifest } from '@lastgood/protocol';
import { aRestoreRequest, resealManifest, seedShop, startPostgres, temporaryFolder, waitFor } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Fleet } from '../../support/fleet.ts';

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());
const forever = new AbortController().signal;
let fleet: Fleet;
let backupId: string;

beforeAll(async () => {
  const server = cleanup.use(await startPostgres());
  await seedShop(server, 'shop', { rows: 20 });
  const { path } = cleanup.use(await temporaryFolder());
  fleet = cleanup.use(await Fleet.start(path, server.connection));
  const options = { digests: true };
  const job = await fleet.run({ command: 'backup', target: 'shop', method: null, contents: ['shop'], options });
  if (job.result?.command !== 'backup') throw new TypeError(JSON.stringify(job.error));
  backupId = job.result.backup.backupId;
});

const folderOf = (id: string): string => join(fleet.folder, 'repository/test/db-1/shop/backups', id);
const read = async (id: string): Promise<string> => await readFile(join(folderOf(id), 'manifest.json'), 'utf8');

/** A manifest that fits its objects, as somebody without the key of the host can make it. */
const forge = (text: string, id: string): string =>
  resealManifest(text, { backupId: id, keyId: null, signature: null });

const restoreOf = (id: string) => aRestoreRequest(id, { way: 'new', database: 'shop', as: 'copy' });
const verifyTo6 = (id: string) => fleet.run({ command: 'verify', target: 'shop', backupId: id, level: 6 });

test('attack-B10: a backup that was replaced by one without the signature of the host fails verification and is not restored', async () => {
  const own = await read(backupId);
  const forged = resealManifest(own, { recoveryPoint: '2031-01-01T00:00:00Z', keyId: null, signature: null });
  await writeFile(join(folderOf(backupId), 'manifest.json'), forged);
  const verified = await verifyTo6(backupId);
  expect(verified.result).toMatchObject({
    passed: false,
    reached: 0,
    findings: [{ code: 'MANIFEST_NOT_SIGNED' }, { code: 'MANIFEST_REPLACED' }],
  });
  for (const acceptUnsigned of [false, true]) {
    const planned = await fleet.run({ command: 'plan', target: 'shop', request: restoreOf(backupId), acceptUnsigned });
    expect(planned).toMatchObject({ state: 'failed', error: { code: 'BACKUP_REPLACED' } });
  }
  await writeFile(join(folderOf(backupId), 'manifest.json'), own);
  expect((await verifyTo6(backupId)).result).toMatchObject({ passed: true, reached: 6 });
});

test('attack-B10: a backup that somebody planted is listed as not restorable, and is restored only with consent', async () => {
  const planted = randomUUID();
  await cp(folderOf(backupId), folderOf(planted), { recursive: true });
  await writeFile(join(folderOf(planted), 'manifest.json'), forge(await read(backupId), planted));
  const summary = await waitFor('the planted backup to be reported', 60_000, forever, async () => {
    await fleet.run({ command: 'rotate', target: 'shop', retention: { minimum: 1 }, holds: [], dryRun: true });
    return (await fleet.client.backups.query({ target: 'shop' })).find((each) => each.backupId === planted);
  });
  expect(summary.restorable).toEqual({ ok: false, reason: { code: 'UNSIGNED', params: {} } });
  expect((await verifyTo6(planted)).result).toMatchObject({
    passed: false,
    findings: [{ code: 'MANIFEST_NOT_SIGNED' }],
  });
  const request = restoreOf(planted);
  expect(await fleet.run({ command: 'plan', target: 'shop', request })).toMatchObject({
    error: { code: 'BACKUP_UNTRUSTED', remedy: expect.stringContaining('--accept-unsigned') },
  });
  const planned = await fleet.run({ command: 'plan', target: 'shop', request, acceptUnsigned: true });
  expect(planned.result).toMatchObject({ command: 'plan', plan: { refusals: [] } });
});

test('the catalog knows the key that the host signs with', async () => {
  const [host] = await fleet.client.hosts.query({});
  expect(host?.signingKey).toBe((JSON.parse(await read(backupId)) as Manifest).keyId);
});
