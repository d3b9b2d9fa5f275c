import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { type BackupSummary, type ControlJob, LIMITS, type TargetInventory } from '@lastgood/protocol';
import { temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { databaseStatuses } from '../src/api/database-status.ts';
import type { Coverage } from '../src/catalog/backup-queries.ts';
import { openSqliteCatalog } from '../src/catalog/sqlite-catalog.ts';

const AT = '2026-11-23T22:00:00Z';
const summary = (sequence: number, databases: string[], changed: Partial<BackupSummary> = {}): BackupSummary => ({
  backupId: randomUUID(),
  target: 'shop',
  repository: 'local',
  engine: 'postgres',
  kind: 'logical',
  sequence,
  jobId: randomUUID(),
  startedAt: AT,
  snapshotAt: AT,
  finishedAt: AT,
  databases,
  producedBytes: 1,
  storedBytes: 1,
  manifestSha256: 'a'.repeat(64),
  state: 'good',
  verified: null,
  warnings: [],
  ...changed,
});
const passed = (level: number): Pick<BackupSummary, 'verified'> => ({ verified: { level, at: AT, passed: true } });

/** What the catalog says after it was told of these backups. */
async function coverageOf(backups: readonly BackupSummary[]): Promise<Map<string, Coverage>> {
  await using folder = await temporaryFolder();
  const catalog = await openSqliteCatalog(join(folder.path, 'catalog.sqlite'));
  await catalog.commit(backups.map((backup) => ({ type: 'backup.taken', agentId: 'a', backup })));
  const covered = await catalog.backups.coverage('a', 'shop');
  expect(await catalog.backups.coverage('b', 'shop')).toEqual([]);
  await catalog.close();
  return new Map(covered.map((each) => [each.database, each]));
}

test('a backup of one database says nothing of the others of its server', async () => {
  const all = summary(1, ['shop', 'crm']);
  const one = summary(2, ['shop']);
  const covered = await coverageOf([all, one]);
  expect(covered.get('shop')?.lastGood.backupId).toBe(one.backupId);
  expect(covered.get('crm')?.lastGood.backupId).toBe(all.backupId);
});

test('what is bad, suspect or missing answers for no database', async () => {
  const states = ['bad', 'suspect', 'missing'] as const;
  const covered = await coverageOf(states.map((state, index) => summary(index + 1, ['shop'], { state })));
  expect([...covered]).toEqual([]);
});

test('a backup is proven from level 4 on, and an older proof counts until a newer one is proven', async () => {
  const proven = summary(1, ['shop', 'crm'], passed(4));
  const read = summary(2, ['shop'], passed(3));
  const covered = await coverageOf([proven, read]);
  expect(covered.get('shop')).toMatchObject({
    lastGood: { backupId: read.backupId },
    lastProven: { backupId: proven.backupId },
  });
});

test.for(['O\'Brien "x"', ' spaced name ', 'host=127.0.0.1', '{"a":1}', 'a\nb'])(
  'a database named %j is told by its name',
  async (name) => {
    expect((await coverageOf([summary(1, [name])])).get(name)?.database).toBe(name);
  },
);

const inventory = (changed: Partial<TargetInventory> = {}): TargetInventory => ({
  name: 'shop',
  engine: 'postgres',
  labels: {},
  repository: 'local',
  state: 'ok',
  version: '15.18',
  systemId: '1',
  sizeBytes: 1,
  databases: [{ name: 'shop', sizeBytes: 1 }],
  findings: [],
  ...changed,
});
const covers = (database: string, backup: BackupSummary): Coverage => ({
  database,
  lastGood: backup,
  lastProven: backup.verified === null ? null : backup,
});

test('a database that no backup holds goes back to nowhere, and one that only a backup holds is not on the server', () => {
  const kept = summary(1, ['dropped']);
  const [dropped, shop] = databaseStatuses(inventory(), [covers('dropped', kept)], []);
  expect(dropped).toMatchObject({ database: 'dropped', onServer: false, goesBackTo: { backupId: kept.backupId } });
  expect(shop).toMatchObject({ database: 'shop', onServer: true, goesBackTo: null, proven: null, restoreMs: null });
});

test.for<[string, Partial<TargetInventory>]>([
  ['does not answer', { state: 'unreachable', databases: [] }],
  [
    'has more databases than are told of',
    {
      databases: Array.from({ length: LIMITS.inventoryDatabases }, (_, n) => ({ name: `d${n}`, sizeBytes: 1 })),
    },
  ],
])('a server that %s does not say that a database is gone', ([, changed]) => {
  const statuses = databaseStatuses(inventory(changed), [covers('other', summary(1, ['other']))], []);
  expect(statuses.find(({ database }) => database === 'other')?.onServer).toBe(null);
});

test('the time to restore is that of the latest restore of the database or proof of its proven backup', () => {
  const proof = summary(1, ['shop'], passed(6));
  const job = (endedAt: number, result: object, target = 'shop'): ControlJob =>
    ({ spec: { target }, state: 'succeeded', endedAt, result }) as unknown as ControlJob;
  const verify = {
    command: 'verify',
    backupId: proof.backupId,
    level: 6,
    reached: 6,
    passed: true,
    findings: [],
    at: AT,
  };
  const restore = {
    command: 'restore',
    backupId: proof.backupId,
    into: 'x',
    oldKeptAs: null,
    warnings: [],
    tables: 1,
    rows: 1,
  };
  const restored = (endedAt: number, database: string, durationMs: number, target?: string): ControlJob =>
    job(endedAt, { ...restore, database, durationMs }, target);
  const msOf = (...jobs: ControlJob[]): number | null | undefined =>
    databaseStatuses(inventory(), [covers('shop', proof)], jobs)[0]?.restoreMs;
  expect(msOf()).toBe(null);
  expect(msOf(job(1, { ...verify, durationMs: 10 }))).toBe(10);
  expect(msOf(job(1, { ...verify, durationMs: 10 }), restored(2, 'shop', 20))).toBe(20);
  expect(msOf(job(3, { ...verify, durationMs: 10 }), restored(2, 'shop', 20))).toBe(10);
  // Of another database, of another target, of a backup that proves nothing of this one, not deep enough.
  expect(msOf(restored(1, 'crm', 30), restored(2, 'shop', 40, 'other'))).toBe(null);
  expect(msOf(job(1, { ...verify, backupId: randomUUID(), durationMs: 10 }))).toBe(null);
  expect(msOf(job(1, { ...verify, reached: 3, durationMs: 10 }))).toBe(null);
});
