import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import {
  type BackupSummary,
  type ControlJob,
  createJob,
  emptyControlLedger,
  LIMITS,
  type TargetInventory,
} from '@lastgood/protocol';
import { aBackupSummary, aJobDescription, someDatabases, temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { databaseStatuses } from '../src/api/database-status.ts';
import type { Coverage } from '../src/catalog/backup-queries.ts';
import type { RestoreTime } from '../src/catalog/jobs.ts';
import { openSqliteCatalog } from '../src/catalog/sqlite-catalog.ts';

const AT = '2026-11-23T22:00:00Z';
const summary = (sequence: number, databases: string[], changed: Partial<BackupSummary> = {}): BackupSummary =>
  aBackupSummary({ sequence, contents: someDatabases(...databases), recoveryPoint: AT, ...changed });
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

test('a backup that its agent cannot restore answers for no database', async () => {
  const reason = { code: 'NEWER_FORMAT' as const, params: { part: 'method', name: 'physical' } };
  const older = summary(1, ['shop']);
  const covered = await coverageOf([older, summary(2, ['shop', 'crm'], { restorable: { ok: false, reason } })]);
  expect([...covered.values()].map(({ lastGood }) => lastGood.backupId)).toEqual([older.backupId]);
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

function endedJob(endedAt: number, result: object, target = 'shop'): ControlJob {
  const jobId = randomUUID();
  const spec = { command: 'backup', target, method: null, contents: null, options: {} } as const;
  const ledger = createJob(emptyControlLedger('a', 'inc-1'), aJobDescription(jobId, { spec }));
  const job = ledger.jobs.get(jobId);
  if (job === undefined) throw new TypeError('no job');
  return { ...job, state: 'succeeded', endedAt, result: result as ControlJob['result'] };
}
/** What the catalog answers after these jobs have ended. */
async function restoreTimesOf(jobs: readonly ControlJob[]): Promise<RestoreTime[]> {
  await using folder = await temporaryFolder();
  const catalog = await openSqliteCatalog(join(folder.path, 'catalog.sqlite'));
  const origin = { agentId: 'a', createdBy: 'test', idempotencyKey: null };
  await catalog.commit(jobs.map((job) => ({ type: 'job.create', record: { job, ...origin } })));
  const times = await catalog.jobs.restoreTimes('a', 'shop');
  await catalog.close();
  return times;
}

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

test('the restore time is that of the newest restore of the database, or of the newest restore test of its tested backup', async () => {
  const tested = summary(1, ['shop'], passed(6));
  const { backupId } = tested;
  const verify = { command: 'verify', backupId, level: 6, reached: 6, passed: true, findings: [], at: AT };
  const restore = { command: 'restore', backupId, into: 'x', setAsideAs: null, warnings: [], tables: 1, rows: 1 };
  const restored = (endedAt: number, database: string, durationMs: number, target?: string): ControlJob =>
    endedJob(endedAt, { ...restore, database, durationMs }, target);
  const restoreMsAfter = async (...jobs: ControlJob[]): Promise<number | null | undefined> =>
    databaseStatuses(inventory(), [covers('shop', tested)], await restoreTimesOf(jobs))[0]?.restoreMs;
  expect(await restoreMsAfter()).toBe(null);
  expect(await restoreMsAfter(endedJob(1, { ...verify, durationMs: 10 }))).toBe(10);
  expect(await restoreMsAfter(endedJob(1, { ...verify, durationMs: 10 }), restored(2, 'shop', 20))).toBe(20);
  expect(await restoreMsAfter(endedJob(3, { ...verify, durationMs: 10 }), restored(2, 'shop', 20))).toBe(10);
  expect(await restoreMsAfter(restored(3, 'shop', 30), restored(2, 'shop', 20))).toBe(30);
  // Another database, another target, another backup, a level that is too low, a verification that failed.
  expect(await restoreMsAfter(restored(1, 'crm', 30), restored(2, 'shop', 40, 'other'))).toBe(null);
  expect(await restoreMsAfter(endedJob(1, { ...verify, backupId: randomUUID(), durationMs: 10 }))).toBe(null);
  expect(await restoreMsAfter(endedJob(1, { ...verify, reached: 3, durationMs: 10 }))).toBe(null);
  expect(await restoreMsAfter(endedJob(1, { ...verify, passed: false, durationMs: 10 }))).toBe(null);
});

test('coverage grows with the number of contents, not with its square', { timeout: 60_000 }, async () => {
  await using folder = await temporaryFolder();
  const catalog = await openSqliteCatalog(join(folder.path, 'catalog.sqlite'));
  const names = Array.from({ length: 2_000 }, (_, n) => `database-${n}`);
  const backups = Array.from({ length: 40 }, (_, n) => summary(n + 1, names, passed(4)));
  await catalog.commit(backups.map((backup) => ({ type: 'backup.taken', agentId: 'a', backup })));
  const started = performance.now();
  const coverage = await catalog.backups.coverage('a', 'shop');
  expect(coverage).toHaveLength(names.length);
  expect(new Set(coverage.map(({ lastGood }) => lastGood.backupId))).toEqual(new Set([backups.at(-1)?.backupId]));
  // Each row once: well below a second. With the summary in each row it was half a minute.
  expect(performance.now() - started).toBeLessThan(5_000);
  await catalog.close();
});

test('the contents of a backup leave the catalog with it', async () => {
  await using folder = await temporaryFolder();
  const catalog = await openSqliteCatalog(join(folder.path, 'catalog.sqlite'));
  const backup = summary(1, ['shop']);
  await catalog.commit([{ type: 'backup.taken', agentId: 'a', backup }]);
  expect(await catalog.backups.coverage('a', 'shop')).toHaveLength(1);
  await catalog.commit([{ type: 'backup.removed', agentId: 'a', backupIds: [backup.backupId] }]);
  expect(await catalog.backups.coverage('a', 'shop')).toEqual([]);
  await catalog.commit([{ type: 'backup.taken', agentId: 'a', backup: { ...backup, contents: someDatabases('crm') } }]);
  expect((await catalog.backups.coverage('a', 'shop')).map(({ database }) => database)).toEqual(['crm']);
  await catalog.close();
});
