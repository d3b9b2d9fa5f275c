import { randomBytes } from 'node:crypto';
import { Failure } from '@lastgood/core';
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
  listed,
  namesOf,
  type Parts,
  publish,
  ref,
  verify,
  writeBytes,
} from './repository-harness.ts';

export function describePublication({ under, repository }: Parts): void {
  test('I1: lists a published backup, returns its bytes and verifies it', async () => {
    const backupId = await publish(repository());
    expect(await listed(repository())).toEqual({ good: [backupId], broken: [] });
    expect((await contentOf(repository(), backupId)).equals(DUMP)).toBe(true);
    expect(await verify(repository(), backupId)).toEqual([]);
    expect((await namesOf(under().store, backupPrefix(backupId))).map((name) => name.split('/').at(-1))).toEqual([
      '0001.dump.zst',
      '0002.sql.zst',
      'manifest.json',
    ]);
  });

  test('D2: continues the sequence even when earlier backups are removed or damaged', async () => {
    const [first, second] = [await publish(repository()), await publish(repository())];
    await repository().remove(ref, second, 0);
    await change(under().store, `${backupPrefix(first)}manifest.json`, () => Buffer.from('{"sequence":7}'));
    const third = await publish(repository());
    expect((await repository().read(ref, third)).manifest.sequence).toBe(8);
  });

  test('A1: hides a backup that is being written, and sweeps it unless its job is running', async () => {
    const [dead, live] = [uuidv7(), uuidv7()];
    for (const id of [dead, live]) await (await begin(repository(), id)).add(dump, writeBytes(DUMP));
    expect(await listed(repository())).toEqual({ good: [], broken: [] });
    expect(await repository().sweep(ref, new Set([live]))).toEqual([dead]);
    expect(await namesOf(under().store, backupPrefix(dead))).toEqual([]);
    expect(await namesOf(under().store, backupPrefix(live))).not.toEqual([]);
  });
}

export function describeFailedPublication({ under, faulty, repository }: Parts): void {
  test('A2: stores nothing of an artifact whose tool fails, even after the end of its output', async () => {
    const backupId = uuidv7();
    const writer = await begin(repository(), backupId);
    const failing = writer.add(dump, async (sink) => {
      await writeBytes(randomBytes(300_000))(sink);
      throw new Failure('TOOL_FAILED', 'the tool ended with 1');
    });
    expect(await codeOf(failing)).toBe('TOOL_FAILED');
    expect(await namesOf(under().store, `${backupPrefix(backupId)}data/`)).toEqual([]);
    await writer.abandon();
    expect(await namesOf(under().store, backupPrefix(backupId))).toEqual([]);
  });

  for (const bytes of [0, 1, 100_000])
    test(`A7: a store failure after ${bytes} bytes fails the backup with the code of the store, and no backup is listed`, async () => {
      const writer = await begin(repository());
      faulty().inject = ({ operation }) => (operation === 'put' ? { type: 'fail after', bytes } : undefined);
      expect(await codeOf(writer.add(dump, writeBytes(randomBytes(300_000))))).toBe('IO_ERROR');
      faulty().inject = () => undefined;
      await writer.abandon();
      expect(await listed(repository())).toEqual({ good: [], broken: [] });
      expect(await namesOf(under().store, 'test/db-1/shop/backups/')).toEqual([]);
    });

  test('A9: the read-back detects a bit flipped on the way to the store before the backup is published', async () => {
    const writer = await begin(repository());
    faulty().inject = ({ operation }) => (operation === 'put' ? { type: 'flip', at: 100 } : undefined);
    expect(await codeOf(writer.add(dump, writeBytes(randomBytes(10_000))))).toBe('IO_ERROR');
    faulty().inject = () => undefined;
    await writer.abandon();
    expect(await namesOf(under().store, 'test/db-1/shop/backups/')).toEqual([]);
  });

  test('A7: abandoning a backup never fails, and the sweep removes its leftovers', async () => {
    const backupId = uuidv7();
    const writer = await begin(repository(), backupId);
    await writer.add(dump, writeBytes(DUMP));
    faulty().inject = ({ operation }) => (operation === 'remove' ? { type: 'fail' } : undefined);
    await writer.abandon();
    faulty().inject = () => undefined;
    expect(await listed(repository())).toEqual({ good: [], broken: [] });
    expect(await repository().sweep(ref, new Set())).toEqual([backupId]);
  });
}
