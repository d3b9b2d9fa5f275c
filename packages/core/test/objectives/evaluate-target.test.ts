import { makeFinding } from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { type DatabaseFacts, evaluateTarget, type TargetFacts } from '../../src/objectives/index.ts';
import { DAY, database, facts, HOUR, NOW, short } from './support.ts';

const all = facts({ objectives: { rpoMs: 24 * HOUR, rtoMs: 4 * HOUR, restoreTestMs: 8 * DAY } });
const point = (ageMs: number): Pick<DatabaseFacts, 'recoveryPoint'> => ({
  recoveryPoint: { atMs: NOW - ageMs, from: 'backup', backupId: 'b' },
});
const target = (databases: readonly Partial<DatabaseFacts>[], shared: Partial<TargetFacts> = {}) =>
  evaluateTarget(
    { ...all, ...shared },
    databases.map((more) => database(all, more)),
    NOW,
  );

test('one database that misses its objective lowers the target, and is named', () => {
  const status = target([
    { database: 'shop' },
    { database: 'crm', ...point(30 * HOUR) },
    { database: 'wiki', ...point(40 * HOUR) },
  ]);
  expect(status).toMatchObject({
    state: 'missed',
    reasons: [{ code: 'rpo_missed', database: 'wiki', exposureMs: 40 * HOUR }],
    exposureMs: 40 * HOUR,
    recoveryPoint: { atMs: NOW - 40 * HOUR },
  });
});

test('a database without a backup leaves the target without a recovery point', () => {
  const status = target([
    { database: 'shop' },
    { database: 'crm', recoveryPoint: null, newestBackup: null, restoreTest: null, lastAttemptMs: NOW - HOUR },
  ]);
  expect(status).toMatchObject({ state: 'none', recoveryPoint: null, exposureMs: null, restoreTest: null });
  expect(status.reasons).toContainEqual({ code: 'no_recovery_point', database: 'crm' });
});

test('numbers are those of the worst database: oldest restore test, longest restore', () => {
  const status = target([
    { database: 'shop', restoreTime: { basis: 'measured', ms: HOUR, atMs: NOW } },
    {
      database: 'crm',
      restoreTime: { basis: 'estimated', ms: 2 * HOUR },
      restoreTest: { atMs: NOW - 3 * DAY, level: 4, backupId: 'b' },
    },
  ]);
  expect(status.restoreTime).toEqual({ basis: 'estimated', ms: 2 * HOUR });
  expect(status.restoreTest).toMatchObject({ atMs: NOW - 3 * DAY, isStale: false });
  expect(status.worstShare).toBe(0.5);
});

test('a restore of unknown duration makes that of the target unknown', () => {
  expect(target([{}, { database: 'crm', restoreTime: { basis: 'unknown' } }]).restoreTime).toEqual({
    basis: 'unknown',
  });
});

test('databases that are excluded, gone from the server, or waiting for their first backup have no part in the numbers', () => {
  const status = target(
    [
      { database: 'shop' },
      { database: 'cache', isExcluded: true, ...point(90 * DAY) },
      { database: 'old', isOnServer: false, ...point(90 * DAY) },
      { database: 'new', recoveryPoint: null, newestBackup: null, restoreTest: null, lastAttemptMs: null },
    ],
    { firstBackupDueMs: NOW + HOUR },
  );
  expect(status).toMatchObject({ exposureMs: HOUR, recoveryPoint: { atMs: NOW - HOUR } });
});

test('errors that the agent reports put the target at risk, each as a reason of its own', () => {
  const errors = [
    makeFinding('SERVER_UNREACHABLE', { kind: 'target', name: 'postgres' }),
    makeFinding('SERVER_REFUSED', { kind: 'target', name: 'postgres' }),
  ];
  expect(short(target([{}], { reportedErrors: errors }))).toBe('at_risk reported_error reported_error');
});

test('a target without a known database is pending until its first backup is due, and has none afterwards', () => {
  expect(short(target([], { firstBackupDueMs: NOW }))).toBe('pending first_backup_pending');
  expect(short(target([], { firstBackupDueMs: NOW - 1 }))).toBe('none no_recovery_point');
  expect(short(target([]))).toBe('none no_recovery_point');
});

test('a target whose databases are all excluded or gone from the server is not protected', () => {
  const excluded = { database: 'a', isExcluded: true, recoveryPoint: null };
  const gone = { database: 'b', isOnServer: false };
  expect(short(target([excluded, gone]))).toBe('at_risk nothing_to_protect');
});
