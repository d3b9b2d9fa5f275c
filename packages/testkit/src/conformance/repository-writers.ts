import { uuidv7 } from '@lastgood/host';
import { expect, test } from 'vitest';
import {
  begin,
  codeOf,
  contentOf,
  DUMP,
  dump,
  facts,
  HOLD,
  listed,
  METHOD,
  namesOf,
  type Parts,
  publish,
  ref,
  rewriteManifest,
  verify,
  writeBytes,
} from './repository-harness.ts';
import { segmentOf } from './segment-log.ts';

export function describeNewerVersions({ under, repository }: Parts): void {
  for (const [what, more, part] of [
    ['an unknown method', { method: 'incremental' }, 'method'],
    ['an unknown engine', { engine: 'other' }, 'engine'],
    ['an unknown key', { shards: 3 }, 'key'],
    ['a later format', { format: 2 }, 'format'],
  ] as const)
    test(`B12: a backup with ${what} is listed as not restorable and is never removed`, async () => {
      const [older, newer] = [await publish(repository()), await publish(repository())];
      await rewriteManifest(under().store, newer, more);
      const { backups, broken } = await repository().list(ref);
      expect([backups, broken]).toMatchObject([
        [
          { manifest: { backupId: older }, restorable: { ok: true } },
          {
            manifest: { backupId: newer },
            restorable: { ok: false, reason: { code: 'NEWER_FORMAT', params: { part } } },
          },
        ],
        [],
      ]);
      expect(await codeOf(repository().open(ref, newer))).toBe('NEWER_FORMAT');
      expect(await codeOf(repository().remove(ref, newer, 0))).toBe('NEWER_FORMAT');
      expect(await repository().sweep(ref, new Set())).toEqual([]);
      expect(await codeOf(verify(repository(), newer))).toBe(part === 'format' ? 'NEWER_FORMAT' : 'succeeded');
    });
}

export function describeWriters({ under, repository }: Parts): void {
  const theirs = () => under().open(under().store, { writer: 'theirs', understood: [METHOD] });

  test('A15, B14: when two installations begin a backup at the same time, one is refused', async () => {
    const other = await theirs();
    const codes = await Promise.all([codeOf(begin(repository())), codeOf(begin(other))]);
    expect(codes.filter((code) => code === 'succeeded').length).toBeLessThanOrEqual(1);
    for (const code of codes) expect(['succeeded', 'REPOSITORY_FOREIGN', 'OBJECT_EXISTS']).toContain(code);
    const again = [await codeOf(begin(repository())), await codeOf(begin(other))];
    expect(again.toSorted()).toEqual(['REPOSITORY_FOREIGN', 'succeeded']);
  });

  test('B14: other installations can read everything and change nothing', async () => {
    const backupId = await publish(repository());
    await repository().log(ref, 'wal').append('0001', segmentOf('one'));
    const other = await theirs();
    const before = await namesOf(under().store);
    for (const refused of [
      () => begin(other),
      () => other.remove(ref, backupId, 0),
      () => other.purge(ref, 10, 1),
      () => other.sweep(ref, new Set()),
      () => other.hold(ref, backupId, HOLD),
      () => other.release(ref, backupId),
      () => other.recordVerified(ref, backupId, { level: 1, at: '2026-01-01T00:00:00Z', passed: false }),
      () => other.log(ref, 'wal').append('0002', segmentOf('two')),
      () => other.log(ref, 'wal').removeBefore('0002'),
      () => other.log(ref, 'wal').sweep(0),
    ])
      expect(await codeOf(refused())).toBe('REPOSITORY_FOREIGN');
    expect(await namesOf(under().store)).toEqual(before);
    expect((await contentOf(other, backupId)).equals(DUMP)).toBe(true);
    expect(await verify(other, backupId)).toEqual([]);
    expect(await other.log(ref, 'wal').list()).toEqual(['0001']);
  });

  test('B14: after a change of owner, the former owner cannot publish a started backup', async () => {
    const writer = await begin(repository());
    await writer.add(dump, writeBytes(DUMP));
    const other = await theirs();
    expect(await other.disown(ref)).toBe(true);
    const backupId = await publish(other);
    expect(await codeOf(writer.publish(facts, '2026-01-01T00:00:01Z'))).toBe('REPOSITORY_FOREIGN');
    expect(await listed(other)).toEqual({ good: [backupId], broken: [] });
  });

  test('F3: refuses backups of another server', async () => {
    await publish(repository());
    expect(await codeOf(begin(repository(), uuidv7(), 'another system'))).toBe('REPOSITORY_FOREIGN');
  });
}
