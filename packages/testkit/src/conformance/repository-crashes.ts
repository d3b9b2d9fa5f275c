import { uuidv7 } from '@lastgood/host';
import { expect, test } from 'vitest';
import {
  backupPrefix,
  begin,
  crashEverywhere,
  DUMP,
  dump,
  listed,
  namesOf,
  publish,
  type RepositoryUnderTest,
  ref,
  verify,
  writeBytes,
} from './repository-harness.ts';
import { readSegment, segmentOf } from './segment-log.ts';

export function describeCrashes(make: () => Promise<RepositoryUnderTest>): void {
  test('A16, B1: after a crash at any step of a publication, a sweep leaves the complete backup or nothing', async () => {
    const backupId = uuidv7();
    const steps = await crashEverywhere(
      make,
      async (repository) => await publish(repository),
      async (repository) => await publish(repository, {}, backupId),
      async (repository, under, before, crash) => {
        const where = JSON.stringify(crash);
        expect((await listed(repository)).broken, where).toEqual([]);
        const swept = await repository.sweep(ref, new Set());
        expect(await repository.sweep(ref, new Set()), where).toEqual([]);
        const { good, broken } = await listed(repository);
        expect(broken, where).toEqual([]);
        expect(good.includes(before), where).toBe(true);
        if (good.includes(backupId)) {
          expect(swept, where).toEqual([]);
          expect(await verify(repository, backupId), where).toEqual([]);
        } else expect(await namesOf(under.store, backupPrefix(backupId)), where).toEqual([]);
        const next = await publish(repository);
        expect((await listed(repository)).good.at(-1), where).toBe(next);
      },
    );
    // Writes the marker, two objects and the manifest, and removes the marker.
    expect(steps).toBeGreaterThanOrEqual(5);
  });

  test('A16: after a crash at any step of abandoning a backup, a sweep leaves nothing', async () => {
    const steps = await crashEverywhere(
      make,
      async (repository) => {
        const backupId = uuidv7();
        const writer = await begin(repository, backupId);
        await writer.add(dump, writeBytes(DUMP));
        return backupId;
      },
      (repository) => repository.sweep(ref, new Set()),
      async (repository, under, _backupId, crash) => {
        expect(await listed(repository), JSON.stringify(crash)).toEqual({ good: [], broken: [] });
        await repository.sweep(ref, new Set());
        expect(await namesOf(under.store, 'test/db-1/shop/backups/'), JSON.stringify(crash)).toEqual([]);
      },
    );
    expect(steps).toBeGreaterThanOrEqual(3);
  });

  test('D9: after a crash at any step of a removal, readers see the complete backup or none, and a later purge finishes', async () => {
    const steps = await crashEverywhere(
      make,
      async (repository) => await publish(repository),
      async (repository, backupId) => {
        await repository.remove(ref, backupId, 0);
        await repository.purge(ref, 1, 0);
      },
      async (repository, under, backupId, crash) => {
        const where = JSON.stringify(crash);
        const { good, broken } = await listed(repository);
        expect(broken, where).toEqual([]);
        if (good.length > 0) {
          expect(await verify(repository, backupId), where).toEqual([]);
          await repository.remove(ref, backupId, 0);
        }
        expect(await repository.sweep(ref, new Set()), where).toEqual([]);
        await repository.purge(ref, 1, 0);
        expect(await namesOf(under.store, 'test/db-1/shop/'), where).toEqual(['test/db-1/shop/owner.json']);
      },
    );
    expect(steps).toBeGreaterThanOrEqual(5);
  });
}

export function describeSegmentCrashes(make: () => Promise<RepositoryUnderTest>): void {
  test('A16: after a crash at any step of an append, the segment is complete or missing, and appending it again succeeds', async () => {
    const steps = await crashEverywhere(
      make,
      async (repository) => void (await publish(repository)),
      (repository) => repository.log(ref, 'wal').append('0001', segmentOf('one')),
      async (repository, under, _prepared, crash) => {
        const where = JSON.stringify(crash);
        const log = repository.log(ref, 'wal');
        for (const segment of await log.list()) expect(await readSegment(log, segment), where).toBe('one');
        await log.append('0001', segmentOf('one'));
        expect(await log.list(), where).toEqual(['0001']);
        expect(await readSegment(log, '0001'), where).toBe('one');
        await log.sweep(0);
        expect(await namesOf(under.store, 'test/db-1/shop/logs/'), where).toHaveLength(2);
      },
    );
    expect(steps).toBeGreaterThanOrEqual(2);
  });
}
