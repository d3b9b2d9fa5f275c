import { uuidv7 } from '@lastgood/host';
import { expect, test } from 'vitest';
import {
  backupPrefix,
  begin,
  change,
  codeOf,
  contentOf,
  DUMP,
  dump,
  FIRST_OBJECT,
  facts,
  flipMiddle,
  listed,
  namesOf,
  type Parts,
  publish,
  read,
  ref,
  verify,
  writeBytes,
} from './repository-harness.ts';

export function describeDamage({ under, repository }: Parts): void {
  for (const [what, harm, level] of [
    ['a flipped bit', flipMiddle, 1],
    ['a missing byte', (bytes: Buffer) => bytes.subarray(0, -1), 0],
    ['an extra byte', (bytes: Buffer) => Buffer.concat([bytes, Buffer.from('x')]), 0],
    ['no bytes', () => Buffer.alloc(0), 0],
  ] as const)
    test(`B10, E1: verification and reading detect ${what} in a stored object`, async () => {
      const backupId = await publish(repository());
      await change(under().store, `${backupPrefix(backupId)}${FIRST_OBJECT}`, harm);
      expect(await verify(repository(), backupId)).toMatchObject([{ level, object: FIRST_OBJECT }]);
      expect(await codeOf(contentOf(repository(), backupId))).toBe('BACKUP_CORRUPT');
      expect((await listed(repository())).good).toEqual(level === 0 ? [] : [backupId]);
    });

  test('B11: a backup with a missing object is broken, names the object, and is never swept', async () => {
    const [kept, lost] = [await publish(repository()), await publish(repository())];
    await under().store.remove(`${backupPrefix(lost)}${FIRST_OBJECT}`);
    expect(await repository().sweep(ref, new Set())).toEqual([]);
    const { good, broken } = await listed(repository());
    expect([good, broken]).toEqual([[kept], [expect.stringMatching(`${lost} BACKUP_CORRUPT: ${FIRST_OBJECT}`)]]);
    expect(await codeOf(contentOf(repository(), lost))).toBe('BACKUP_CORRUPT');
  });

  test('B12: a backup with a missing manifest is broken, and a sweep keeps its objects', async () => {
    const backupId = await publish(repository());
    await under().store.remove(`${backupPrefix(backupId)}manifest.json`);
    expect(await repository().sweep(ref, new Set())).toEqual([]);
    expect(await listed(repository())).toEqual({
      good: [],
      broken: [expect.stringMatching('MANIFEST_INVALID.*manifest is missing')],
    });
    expect(await namesOf(under().store, backupPrefix(backupId))).toHaveLength(2);
  });

  test('B12: rejects an edited manifest and the manifest of another backup', async () => {
    const [first, second] = [await publish(repository()), await publish(repository())];
    const text = await read(under().store, `${backupPrefix(first)}manifest.json`);
    for (const forged of [Buffer.from(text.toString().replace('"attempt":1', '"attempt":2')), text]) {
      const backupId = forged === text ? second : first;
      await change(under().store, `${backupPrefix(backupId)}manifest.json`, () => forged);
      expect(await codeOf(repository().open(ref, backupId))).toBe('MANIFEST_INVALID');
    }
    const { good, broken } = await listed(repository());
    expect([good, broken.length]).toEqual([[], 2]);
  });

  test('stores a verdict beside the backup, and lists the backup when the verdict is unreadable', async () => {
    const backupId = await publish(repository());
    const verdict = { level: 6, at: '2026-01-01T00:00:00Z', passed: true };
    await repository().recordVerified(ref, backupId, verdict);
    expect((await repository().read(ref, backupId)).verified).toEqual(verdict);
    await change(under().store, `${backupPrefix(backupId)}verified.json`, () => Buffer.from('{'));
    const { backups } = await repository().list(ref);
    expect(backups).toMatchObject([{ verified: null, remark: { code: 'VERDICT_UNREADABLE' } }]);
  });
}

export function describeListing({ under, faulty, repository }: Parts): void {
  test('B9: a stale listing neither reports a backup as broken nor makes a sweep remove it', async () => {
    const gone = await publish(repository());
    const writer = await begin(repository());
    await writer.add(dump, writeBytes(DUMP));
    await faulty().freezeListing();
    const { manifest } = await writer.publish(facts, '2026-01-01T00:00:01Z');
    await repository().remove(ref, gone, 0);
    await faulty().freezeListing();
    await repository().purge(ref, 10, 1);
    // The stale listing contains the objects of the purged backup and the marker of a backup that is now complete.
    const { backups, broken } = await repository().list(ref);
    expect([backups.map((backup) => backup.manifest.backupId), broken]).toEqual([[manifest.backupId], []]);
    expect(await repository().sweep(ref, new Set())).toEqual([]);
    await faulty().freezeListing(false);
    expect(await listed(repository())).toEqual({ good: [manifest.backupId], broken: [] });
  });

  test('A7, E9: a failed read of a manifest does not report it as missing and does not hide other backups', async () => {
    const [silent, other] = [await publish(repository()), await publish(repository())];
    const manifest = `${backupPrefix(silent)}manifest.json`;
    faulty().inject = ({ operation, name }) =>
      name === manifest && operation !== 'remove' ? { type: 'fail' } : undefined;
    const { good, broken } = await listed(repository());
    expect([good, broken]).toEqual([[other], [expect.stringMatching(`${silent} IO_ERROR`)]]);
    await repository().sweep(ref, new Set());
    expect(await codeOf(verify(repository(), silent))).toBe('IO_ERROR');
    faulty().inject = () => undefined;
    expect((await listed(repository())).good).toEqual([silent, other]);
  });

  test('E9: a store failure during a verification is not a finding', async () => {
    const backupId = await publish(repository());
    faulty().inject = ({ operation, name }) =>
      operation === 'get' && name.includes('/data/') ? { type: 'fail after', bytes: 3 } : undefined;
    expect(await codeOf(verify(repository(), backupId))).toBe('IO_ERROR');
    expect(await codeOf(contentOf(repository(), backupId))).toBe('IO_ERROR');
  });

  test('B5: a store with a missing or different marker counts as not mounted', async () => {
    const marker = await read(under().store, 'lastgood.json');
    await change(under().store, 'lastgood.json', () => Buffer.from(`{"format":1,"repositoryId":"${uuidv7()}"}`));
    expect(await codeOf(repository().check())).toBe('REPOSITORY_NOT_MOUNTED');
    await under().store.remove('lastgood.json');
    expect(await codeOf(begin(repository()))).toBe('REPOSITORY_NOT_MOUNTED');
    await under().store.put('lastgood.json', marker);
    await repository().check();
  });

  test('B13: refuses invalid backup ids', async () => {
    for (const id of ['../../x', '', 'x', '00000000-0000-0000-0000-00000000000G'])
      expect(await codeOf(repository().read(ref, id))).toBe('BAD_INPUT');
  });
}
