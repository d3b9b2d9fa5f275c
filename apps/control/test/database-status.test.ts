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
import type { Coverage } from '../src/catalog/backup-queries.ts';
import type { RestoreTime } from '../src/catalog/jobs.ts';
import { openSqliteCatalog } from '../src/catalog/sqlite-catalog.ts';
import { databaseFacts } from '../src/targets/database-facts.ts';
import { MeasurementIndex } from '../src/targets/measurement-index.ts';
import type { TargetRecords } from '../src/targets/target-records.ts';

const AT = '2026-11-23T22:00:00Z';
const none = new MeasurementIndex([]);
const summary = (sequence: number, databases: string[], changed: Partial<BackupSummary> = {}): BackupSummary =>
  aBackupSummary({ sequence, contents: someDatabases(...databases), recoveryPoint: AT, ...changed });
const passed = (level: number): Pick<BackupSummary, 'verified'> => ({ verified: { level, at: AT, passed: true } });

/** The coverage after these backups were taken. */
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
  expect(covered.get('shop')?.lastGood?.backupId).toBe(one.backupId);
  expect(covered.get('crm')?.lastGood?.backupId).toBe(all.backupId);
});

test('a bad, suspect or missing backup is the newest of a database, and no recovery point', async () => {
  const states = ['bad', 'suspect', 'missing'] as const;
  const covered = await coverageOf(states.map((state, index) => summary(index + 1, ['shop'], { state })));
  expect(covered.get('shop')).toMatchObject({ newest: { state: 'missing' }, lastGood: null, lastTested: null });
});

test('a backup that its agent cannot restore gives no database a recovery point', async () => {
  const reason = { code: 'NEWER_FORMAT' as const, params: { part: 'method', name: 'physical' } };
  const older = summary(1, ['shop']);
  const covered = await coverageOf([older, summary(2, ['shop', 'crm'], { restorable: { ok: false, reason } })]);
  expect(covered.get('shop')?.lastGood?.backupId).toBe(older.backupId);
  expect(covered.get('crm')?.lastGood).toBe(null);
});

test('a backup is restore-tested from level 4 on, and an older test counts until a newer backup is tested', async () => {
  const tested = summary(1, ['shop', 'crm'], passed(4));
  const read = summary(2, ['shop'], passed(3));
  const covered = await coverageOf([tested, read]);
  expect(covered.get('shop')).toMatchObject({
    lastGood: { backupId: read.backupId },
    lastTested: { backupId: tested.backupId },
    firstGood: { backupId: tested.backupId },
  });
});

test.for(['O\'Brien "x"', ' spaced name ', 'host=127.0.0.1', '{"a":1}', 'a\nb'])(
  'a database named %j keeps its name',
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
/** The restore times after these jobs have ended. */
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
  newest: backup,
  lastGood: backup,
  lastTested: backup.verified === null ? null : backup,
  firstGood: backup,
});
const records = (more: Partial<TargetRecords> = {}): TargetRecords => ({
  environment: 'test',
  host: 'db-1',
  inventory: inventory(),
  coverage: [],
  measurements: [],
  copies: [],
  firstSeen: new Map(),
  backupAttempts: [],
  attempts: [],
  ...more,
});

test('a database without a backup has no recovery point, and one that only a backup contains is not on the server', () => {
  const kept = summary(1, ['dropped']);
  const [dropped, shop] = databaseFacts(records({ coverage: [covers('dropped', kept)] }), none);
  expect(dropped).toMatchObject({ database: 'dropped', isOnServer: false, recoveryPoint: { backupId: kept.backupId } });
  expect(shop).toMatchObject({ database: 'shop', isOnServer: true, recoveryPoint: null, restoreTest: null });
});

test.for<[string, Partial<TargetInventory>]>([
  ['does not answer', { state: 'unreachable', databases: [] }],
  [
    'has more databases than are listed',
    {
      databases: Array.from({ length: LIMITS.inventoryDatabases }, (_, n) => ({ name: `d${n}`, sizeBytes: 1 })),
    },
  ],
])('a server that %s does not show that a database is gone', ([, changed]) => {
  const facts = databaseFacts(
    records({ inventory: inventory(changed), coverage: [covers('x', summary(1, ['x']))] }),
    none,
  );
  expect(facts.find(({ database }) => database === 'x')?.isOnServer).toBe(null);
});

test('the catalog keeps the time of the newest restore of each database, and of the newest restore test of each backup', async () => {
  const { backupId } = summary(1, ['shop'], passed(6));
  const verify = { command: 'verify', backupId, level: 6, reached: 6, passed: true, findings: [], remarks: [], at: AT };
  const restore = {
    command: 'restore',
    backupId,
    recoveryPoint: AT,
    into: 'x',
    setAsideAs: null,
    warnings: [],
    counts: [],
  };
  const restored = (endedAt: number, database: string, durationMs: number, target?: string): ControlJob =>
    endedJob(endedAt, { ...restore, scope: { kind: 'database', database }, durationMs }, target);
  expect(await restoreTimesOf([])).toEqual([]);
  expect(await restoreTimesOf([endedJob(1, { ...verify, durationMs: 10 })])).toEqual([
    { database: null, backupId, durationMs: 10, endedAt: 1 },
  ]);
  expect(await restoreTimesOf([restored(3, 'shop', 30), restored(2, 'shop', 20), restored(1, 'crm', 10)])).toEqual([
    { database: 'crm', backupId, durationMs: 10, endedAt: 1 },
    { database: 'shop', backupId, durationMs: 30, endedAt: 3 },
  ]);
  // Another target, a level that is too low, a verification that failed.
  expect(await restoreTimesOf([restored(2, 'shop', 40, 'other')])).toEqual([]);
  expect(await restoreTimesOf([endedJob(1, { ...verify, reached: 3, durationMs: 10 })])).toEqual([]);
  expect(await restoreTimesOf([endedJob(1, { ...verify, passed: false, durationMs: 10 })])).toEqual([]);
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
  expect(new Set(coverage.map(({ lastGood }) => lastGood?.backupId))).toEqual(new Set([backups.at(-1)?.backupId]));
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
