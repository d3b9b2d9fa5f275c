import { uuidv7 } from '@lastgood/host';
import { expect, test } from 'vitest';
import {
  backupPrefix,
  change,
  codeOf,
  FIRST_OBJECT,
  HOLD,
  listed,
  namesOf,
  type Parts,
  publish,
  ref,
  verify,
} from './repository-harness.ts';

export function describeRemoval({ under, faulty, repository }: Parts): void {
  test('D9: hides a removed backup at once, keeps its data during the grace period, and lists it again without its tombstone', async () => {
    const [kept, removed] = [await publish(repository()), await publish(repository())];
    expect(await repository().remove(ref, removed, 1_000)).toBeGreaterThan(0);
    expect(await listed(repository())).toEqual({ good: [kept], broken: [] });
    expect(await repository().removed(ref)).toEqual([removed]);
    expect(await repository().purge(ref, 1_500, 1_000)).toBe(0);
    await under().store.remove(`test/db-1/shop/tombstones/${removed}.json`);
    expect(await listed(repository())).toEqual({ good: [kept, removed], broken: [] });
    expect(await verify(repository(), removed)).toEqual([]);
    await repository().remove(ref, removed, 2_000);
    expect(await repository().purge(ref, 3_000, 1_000)).toBeGreaterThan(0);
    expect(await namesOf(under().store, backupPrefix(removed))).toEqual([]);
    expect(await repository().removed(ref)).toEqual([]);
  });

  test('D9, D10: an object that cannot be removed does not stop a purge, and the next purge removes it', async () => {
    const [stuck, gone] = [await publish(repository()), await publish(repository())];
    for (const backupId of [stuck, gone]) await repository().remove(ref, backupId, 0);
    const object = `${backupPrefix(stuck)}${FIRST_OBJECT}`;
    faulty().inject = ({ operation, name }) =>
      operation === 'remove' && name === object ? { type: 'fail' } : undefined;
    expect(await codeOf(repository().purge(ref, 10, 1))).toBe('IO_ERROR');
    expect(await namesOf(under().store, 'test/db-1/shop/backups/')).toEqual([object]);
    expect(await repository().removed(ref)).toEqual([stuck]);
    faulty().inject = () => undefined;
    await repository().purge(ref, 10, 1);
    expect(await namesOf(under().store, 'test/db-1/shop/backups/')).toEqual([]);
  });

  test('D10: a purge removes only the objects that the manifest lists', async () => {
    const backupId = await publish(repository());
    const foreign = `${backupPrefix(backupId)}data/keep.me`;
    await under().store.put(foreign, Buffer.from('x'));
    await repository().remove(ref, backupId, 0);
    await repository().purge(ref, 10, 1);
    expect(await namesOf(under().store, 'test/db-1/shop/backups/')).toEqual([foreign]);
  });

  test('D9: an unreadable tombstone hides only its own backup, and is never purged', async () => {
    const [kept, damaged] = [await publish(repository()), await publish(repository())];
    await repository().remove(ref, damaged, 0);
    await change(under().store, `test/db-1/shop/tombstones/${damaged}.json`, (bytes) => bytes.subarray(0, 7));
    await repository().purge(ref, 10, 1);
    const { good, broken } = await listed(repository());
    expect([good, broken]).toEqual([[kept], [expect.stringContaining(`${damaged} removed, and never purged`)]]);
    expect(await namesOf(under().store, backupPrefix(damaged))).toHaveLength(3);
  });
}

export function describeHolds({ under, repository }: Parts): void {
  test('D5: refuses to remove a held backup, and reports who holds it and why', async () => {
    const backupId = await publish(repository());
    expect(await repository().hold(ref, backupId, HOLD)).toBe(true);
    expect(await repository().hold(ref, backupId, { ...HOLD, by: 'bob' })).toBe(false);
    expect((await repository().list(ref)).backups).toMatchObject([{ held: HOLD }]);
    expect((await repository().read(ref, backupId)).held).toEqual(HOLD);
    expect(await codeOf(repository().remove(ref, backupId, 0))).toBe('BACKUP_HELD');
    expect(await repository().release(ref, backupId)).toBe(true);
    expect(await repository().release(ref, backupId)).toBe(false);
    expect((await repository().list(ref)).backups).toMatchObject([{ held: null }]);
    await repository().remove(ref, backupId, 0);
  });

  test('D5: an unreadable hold still protects its backup', async () => {
    const backupId = await publish(repository());
    await repository().hold(ref, backupId, HOLD);
    await change(under().store, `test/db-1/shop/holds/${backupId}.json`, () => Buffer.from('{'));
    expect((await repository().list(ref)).backups).toMatchObject([{ held: { by: null, at: null } }]);
    expect(await codeOf(repository().remove(ref, backupId, 0))).toBe('BACKUP_HELD');
  });

  test('D5: a purge keeps a held backup that has a tombstone', async () => {
    const backupId = await publish(repository());
    await repository().remove(ref, backupId, 0);
    const text = JSON.stringify(HOLD);
    await under().store.put(`test/db-1/shop/holds/${backupId}.json`, Buffer.from(text));
    expect(await repository().purge(ref, 10, 1)).toBe(0);
    expect(await namesOf(under().store, backupPrefix(backupId))).toHaveLength(3);
  });

  test('refuses to hold a backup that does not exist', async () => {
    const backupId = await publish(repository());
    await repository().remove(ref, backupId, 0);
    for (const id of [backupId, uuidv7()]) expect(await codeOf(repository().hold(ref, id, HOLD))).toBe('NOT_FOUND');
    expect(await namesOf(under().store, 'test/db-1/shop/holds/')).toEqual([]);
  });

  test('D5: of a concurrent hold and removal one fails, and a held backup is complete', async () => {
    for (let round = 0; round < 10; round += 1) {
      const backupId = await publish(repository());
      const codes = await Promise.all([
        codeOf(repository().hold(ref, backupId, HOLD)),
        codeOf(repository().remove(ref, backupId, 0)),
      ]);
      expect(codes.every((code) => code === 'succeeded')).toBe(false);
      const removed = (await repository().removed(ref)).includes(backupId);
      const held = (await namesOf(under().store, 'test/db-1/shop/holds/')).some((name) => name.includes(backupId));
      expect(removed && held).toBe(false);
    }
  });
}

export function describeDependencies({ repository }: Parts): void {
  test('I3, D6: refuses to remove a backup that another one depends on', async () => {
    const base = await publish(repository());
    const middle = await publish(repository(), { dependsOn: [base] });
    const top = await publish(repository(), { dependsOn: [base, middle] });
    expect(await codeOf(repository().remove(ref, base, 0))).toBe('BACKUP_NEEDED');
    expect(await codeOf(repository().remove(ref, middle, 0))).toBe('BACKUP_NEEDED');
    await repository().hold(ref, top, HOLD);
    expect(await codeOf(repository().remove(ref, top, 0))).toBe('BACKUP_HELD');
    await repository().release(ref, top);
    for (const backupId of [top, middle, base]) await repository().remove(ref, backupId, 0);
    expect(await listed(repository())).toEqual({ good: [], broken: [] });
  });

  test('lists a backup with a missing dependency as not restorable', async () => {
    const lost = uuidv7();
    const backupId = await publish(repository(), { dependsOn: [lost] });
    expect((await repository().list(ref)).backups).toMatchObject([
      {
        manifest: { backupId, dependsOn: [lost] },
        restorable: { ok: false, reason: { code: 'DEPENDENCY_MISSING', params: { backupId: lost } } },
      },
    ]);
  });
}
