/** Backups in a store that locks objects. */
import { Failure, type Repository } from '@lastgood/core';
import { FaultyStore, MemoryStore } from '@lastgood/testkit';
import { beforeEach, expect, test } from 'vitest';
import { createRepository } from '../src/index.ts';
import { begin, dump, facts, from, globals, ref, understood } from './store.ts';

const LOCK_MS = 10_000;
const HOLD = { reason: 'before the migration', by: 'alice', at: '2026-01-02T00:00:00Z' };
let now: number;
let store: MemoryStore;
let faulty: FaultyStore;
let repository: Repository;
beforeEach(async () => {
  now = 1_000_000;
  store = new MemoryStore({ capabilities: { objectLock: true }, now: () => now });
  faulty = new FaultyStore(store);
  repository = await createRepository(faulty, { understood, writer: 'ours', lockMs: LOCK_MS });
});

async function publish(): Promise<string> {
  const writer = await begin(repository);
  await writer.add(dump, from(Buffer.from('rows')));
  await writer.add(globals, from(Buffer.from('create role a;')));
  return (await writer.publish(facts, '2026-01-01T00:00:01Z')).manifest.backupId;
}
async function namesIn(backupId: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of store.list(`test/db-1/shop/backups/${backupId}/`)) names.push(name);
  return names.sort();
}
const codeOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => 'succeeded',
    (error: unknown) => (error instanceof Failure ? error.code : String(error)),
  );

test('locks the manifest and every object of a published backup, and nothing else', async () => {
  const backupId = await publish();
  const locked: [string, number | null | undefined][] = [];
  for (const name of await namesIn(backupId))
    locked.push([name.split(backupId)[1] ?? '', await store.locks?.lockedUntil(name)]);
  expect(locked).toEqual([
    ['/data/0001.dump.zst', now + LOCK_MS],
    ['/data/0002.sql.zst', now + LOCK_MS],
    ['/manifest.json', now + LOCK_MS],
  ]);
  await repository.recordVerified(ref, backupId, { level: 1, at: '2026-01-02T00:00:00Z', passed: true });
  expect(await codeOf(store.remove(`test/db-1/shop/backups/${backupId}/verified.json`))).toBe('succeeded');
});

test('a removed backup that is locked is expired, and purged when its lock has ended', async () => {
  const backupId = await publish();
  await repository.remove(ref, backupId, now);
  expect(await repository.list(ref)).toEqual({ backups: [], broken: [] });
  expect([await repository.purge(ref, now + 5, 1), await namesIn(backupId)]).toEqual([0, expect.any(Array)]);
  expect(await namesIn(backupId)).toHaveLength(3);
  expect(await repository.locked(ref, now + 5, 1)).toEqual([{ backupId, until: now + LOCK_MS }]);
  // The grace period is not over: it is not locked, it is kept.
  expect(await repository.locked(ref, now + 5, 100)).toEqual([]);
  now += LOCK_MS;
  expect(await repository.locked(ref, now, 1)).toEqual([]);
  expect(await repository.purge(ref, now, 1)).toBeGreaterThan(0);
  expect(await namesIn(backupId)).toEqual([]);
});

test('a hold is a hold in the store as well, until it is released', async () => {
  const backupId = await publish();
  now += LOCK_MS;
  await repository.hold(ref, backupId, HOLD);
  for (const name of await namesIn(backupId)) expect(await codeOf(store.remove(name))).toBe('OBJECT_LOCKED');
  await repository.release(ref, backupId);
  for (const name of await namesIn(backupId)) expect(await codeOf(store.remove(name))).toBe('succeeded');
});

test('a hold whose second half failed is completed by the next one', async () => {
  const backupId = await publish();
  now += LOCK_MS;
  faulty.inject = ({ operation, name }) =>
    operation === 'setHold' && name.endsWith('.sql.zst') ? { type: 'fail' } : undefined;
  expect(await codeOf(repository.hold(ref, backupId, HOLD))).toBe('IO_ERROR');
  faulty.inject = () => undefined;
  expect(await repository.hold(ref, backupId, HOLD)).toBe(false);
  for (const name of await namesIn(backupId)) expect(await codeOf(store.remove(name))).toBe('OBJECT_LOCKED');
});

test('A16: a backup that was given up before its publication is not locked, and is swept', async () => {
  const writer = await begin(repository);
  await writer.add(dump, from(Buffer.from('rows')));
  faulty.kill();
  await writer.abandon();
  repository = await createRepository(store, { understood, writer: 'ours', lockMs: LOCK_MS });
  expect(await repository.sweep(ref, new Set())).toHaveLength(1);
});

test('A16: the sweep locks a backup whose agent died between its manifest and its locks', async () => {
  faulty.inject = ({ operation }) => {
    if (operation === 'retain') faulty.kill();
    return undefined;
  };
  expect(await codeOf(publish())).toBe('IO_ERROR');
  repository = await createRepository(store, { understood, writer: 'ours', lockMs: LOCK_MS });
  await repository.sweep(ref, new Set());
  const { backups } = await repository.list(ref);
  const names = await namesIn(backups[0]?.manifest.backupId ?? '');
  expect(names).toHaveLength(3);
  for (const name of names) expect(await codeOf(store.remove(name))).toBe('OBJECT_LOCKED');
});
