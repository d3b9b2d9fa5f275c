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
    ['a lost byte', (bytes: Buffer) => bytes.subarray(0, -1), 0],
    ['a byte too many', (bytes: Buffer) => Buffer.concat([bytes, Buffer.from('x')]), 0],
    ['no bytes at all', () => Buffer.alloc(0), 0],
  ] as const)
    test(`B10, E1: ${what} in a stored object is found by verification and refused when it is opened`, async () => {
      const backupId = await publish(repository());
      await change(under().store, `${backupPrefix(backupId)}${FIRST_OBJECT}`, harm);
      expect(await verify(repository(), backupId)).toMatchObject([{ level, object: FIRST_OBJECT }]);
      expect(await codeOf(contentOf(repository(), backupId))).toBe('BACKUP_CORRUPT');
      expect((await listed(repository())).good).toEqual(level === 0 ? [] : [backupId]);
    });

  test('B11: a backup that lost an object is broken, by the name of the object, and never swept', async () => {
    const [kept, lost] = [await publish(repository()), await publish(repository())];
    await under().store.remove(`${backupPrefix(lost)}${FIRST_OBJECT}`);
    expect(await repository().sweep(ref, new Set())).toEqual([]);
    const { good, broken } = await listed(repository());
    expect([good, broken]).toEqual([[kept], [expect.stringMatching(`${lost} BACKUP_CORRUPT: ${FIRST_OBJECT}`)]]);
    expect(await codeOf(contentOf(repository(), lost))).toBe('BACKUP_CORRUPT');
  });

  test('B12: a backup that lost its manifest is broken, and no sweep removes what is left of it', async () => {
    const backupId = await publish(repository());
    await under().store.remove(`${backupPrefix(backupId)}manifest.json`);
    expect(await repository().sweep(ref, new Set())).toEqual([]);
    expect(await listed(repository())).toEqual({
      good: [],
      broken: [expect.stringMatching('MANIFEST_INVALID.*manifest is missing')],
    });
    expect(await namesOf(under().store, backupPrefix(backupId))).toHaveLength(2);
  });

  test('B12: an edited manifest, and that of another backup in its place, are not believed', async () => {
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

  test('keeps a verdict beside the backup; one that cannot be read hides nothing', async () => {
    const backupId = await publish(repository());
    const verdict = { level: 6, at: '2026-01-01T00:00:00Z', passed: true };
    await repository().recordVerified(ref, backupId, verdict);
    expect((await repository().read(ref, backupId)).verified).toEqual(verdict);
    await change(under().store, `${backupPrefix(backupId)}verified.json`, () => Buffer.from('{'));
    const { backups } = await repository().list(ref);
    expect(backups).toMatchObject([{ verified: null, remark: expect.stringContaining('cannot be read') }]);
  });
}

export function describeListing({ under, faulty, repository }: Parts): void {
  test('B9: a listing that lags behind makes no backup broken, and no sweep removes one', async () => {
    const gone = await publish(repository());
    const writer = await begin(repository());
    await writer.add(dump, writeBytes(DUMP));
    await faulty().freezeListing();
    const { manifest } = await writer.publish(facts, '2026-01-01T00:00:01Z');
    await repository().remove(ref, gone, 0);
    await faulty().freezeListing();
    await repository().purge(ref, 10, 1);
    // Still listed: the objects of the purged backup, and the mark of one that is complete by now.
    const { backups, broken } = await repository().list(ref);
    expect([backups.map((backup) => backup.manifest.backupId), broken]).toEqual([[manifest.backupId], []]);
    expect(await repository().sweep(ref, new Set())).toEqual([]);
    await faulty().freezeListing(false);
    expect(await listed(repository())).toEqual({ good: [manifest.backupId], broken: [] });
  });

  test('A7, E9: a manifest that the store does not return is no lost manifest, and hides no other backup', async () => {
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

  test('E9: a store that stops in the middle of a verification says nothing against the backup', async () => {
    const backupId = await publish(repository());
    faulty().inject = ({ operation, name }) =>
      operation === 'get' && name.includes('/data/') ? { type: 'fail after', bytes: 3 } : undefined;
    expect(await codeOf(verify(repository(), backupId))).toBe('IO_ERROR');
    expect(await codeOf(contentOf(repository(), backupId))).toBe('IO_ERROR');
  });

  test('B5: a store whose marker is gone or another one is not mounted', async () => {
    const marker = await read(under().store, 'lastgood.json');
    await change(under().store, 'lastgood.json', () => Buffer.from(`{"format":1,"repositoryId":"${uuidv7()}"}`));
    expect(await codeOf(repository().check())).toBe('REPOSITORY_NOT_MOUNTED');
    await under().store.remove('lastgood.json');
    expect(await codeOf(begin(repository()))).toBe('REPOSITORY_NOT_MOUNTED');
    await under().store.put('lastgood.json', marker);
    await repository().check();
  });

  test('B13: refuses ids that would be other names', async () => {
    for (const id of ['../../x', '', 'x', '00000000-0000-0000-0000-00000000000G'])
      expect(await codeOf(repository().read(ref, id))).toBe('BAD_INPUT');
  });
}
