import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { failsAt, nagiosCode, TARGET_STATES, type TargetFacts, type TargetState } from '../../src/objectives/index.ts';
import { DAY, HOUR, NOW, short, status } from './support.ts';

const point = (ageMs: number, from: 'backup' | 'stream' = 'backup') => ({
  recoveryPoint: { atMs: NOW - ageMs, from, backupId: 'b2' },
});
const failed = (command = 'backup') => ({
  failedAttempts: [{ command, atMs: NOW - HOUR, sinceMs: NOW - DAY, cause: 'NO_SPACE' }],
});
const tested = { restoreTest: { atMs: NOW - HOUR, level: 6, backupId: 'b2' } };
const noObjectives = { objectives: { rpoMs: null, rtoMs: null, restoreTestMs: null } };

test('a target that meets its objectives is protected, with its three numbers', () => {
  expect(status()).toEqual({
    environment: 'prod',
    host: 'db-1',
    target: 'postgres',
    state: 'protected',
    reasons: [],
    recoveryPoint: { atMs: NOW - HOUR, from: 'backup', backupId: 'b2' },
    exposureMs: HOUR,
    restoreTime: { basis: 'measured', ms: HOUR, atMs: NOW - DAY },
    restoreTest: { atMs: NOW - DAY, level: 6, backupId: 'b1', isStale: false },
    worstShare: 0.25,
  });
});

describe('the state', () => {
  test.for<[string, Partial<TargetFacts>, string]>([
    ['at 80 % of the RPO', point(19.2 * HOUR), 'protected'],
    ['above 80 % of the RPO', point(19.2 * HOUR + 1), 'at_risk rpo_at_risk'],
    ['at the RPO', point(24 * HOUR), 'at_risk rpo_at_risk'],
    ['above the RPO', point(24 * HOUR + 1), 'missed rpo_missed'],
    [
      'with an old backup and a fresh log stream',
      { ...point(60_000, 'stream'), newestBackup: { backupId: 'b', atMs: NOW - 3 * DAY, state: 'good' } },
      'protected',
    ],
    ['without a recovery point', { recoveryPoint: null }, 'none no_recovery_point'],
    [
      'before its first backup is due',
      {
        recoveryPoint: null,
        newestBackup: null,
        lastAttemptMs: null,
        firstBackupDueMs: NOW,
        firstBackupMs: null,
        restoreTest: null,
        restoreTime: { basis: 'unknown' },
      },
      'pending first_backup_pending',
    ],
    [
      'after its first backup was due',
      {
        recoveryPoint: null,
        newestBackup: null,
        lastAttemptMs: null,
        firstBackupDueMs: NOW - 1,
        firstBackupMs: null,
        restoreTest: null,
      },
      'none no_recovery_point',
    ],
    [
      'when its first backup failed',
      {
        recoveryPoint: null,
        newestBackup: null,
        lastAttemptMs: NOW - HOUR,
        ...failed(),
        firstBackupDueMs: NOW + HOUR,
      },
      'none no_recovery_point last_attempt_failed',
    ],
    [
      'when nothing was reported',
      { isReported: false, hostState: 'never' },
      'unknown not_reported host_never_connected',
    ],
    ['when its host is offline', { hostState: 'offline' }, 'at_risk host_offline'],
    [
      'when its host has been offline for longer than the RPO',
      { hostState: 'offline', ...point(3 * DAY) },
      'missed rpo_missed host_offline',
    ],
    ['when its host is quarantined', { hostState: 'quarantined' }, 'at_risk host_quarantined'],
    [
      'when the newest backup is bad',
      { newestBackup: { backupId: 'b', atMs: NOW, state: 'bad' } },
      'at_risk newest_backup_bad',
    ],
    [
      'when the newest backup is missing',
      { newestBackup: { backupId: 'b', atMs: NOW, state: 'missing' } },
      'at_risk newest_backup_missing',
    ],
    [
      'when the newest backup is suspect',
      { newestBackup: { backupId: 'b', atMs: NOW, state: 'suspect' } },
      'at_risk newest_backup_suspect',
    ],
    ['when the last attempt failed', failed(), 'at_risk last_attempt_failed'],
    [
      'when a restore takes longer than the RTO',
      { restoreTime: { basis: 'measured', ms: 5 * HOUR, atMs: NOW } },
      'missed rto_missed',
    ],
    [
      'when a restore takes over 80 % of the RTO',
      { restoreTime: { basis: 'estimated', ms: 3.5 * HOUR } },
      'at_risk rto_at_risk',
    ],
    ['when the time of a restore is not known', { restoreTime: { basis: 'unknown' } }, 'protected'],
    [
      'when the restore test is old',
      { restoreTest: { atMs: NOW - 9 * DAY, level: 4, backupId: 'b' } },
      'at_risk restore_test_stale',
    ],
    ['when there was no restore test', { restoreTest: null }, 'at_risk restore_test_missing'],
    ['when it is too new for a restore test', { restoreTest: null, firstBackupMs: NOW - DAY }, 'protected'],
    ['when no policy selects it', { objectives: null, ...tested }, 'at_risk no_policy'],
    ['without policy and backup', { objectives: null, recoveryPoint: null }, 'none no_recovery_point no_policy'],
    ['without objectives', { ...noObjectives, ...tested, ...point(90 * DAY) }, 'protected'],
    ['at the accepted age', { ...point(HOUR), maxAgeMs: HOUR }, 'protected'],
    ['above the accepted age', { ...point(HOUR + 1), maxAgeMs: HOUR }, 'missed max_age_exceeded'],
    [
      'when its required stream does not run',
      { requireStream: true, streamState: 'stopped' },
      'at_risk stream_stopped',
    ],
    ['when its stream has a gap', { streamState: 'gap' }, 'at_risk stream_gap'],
    ['when the recovery point lies in the future of this clock', point(-HOUR), 'protected'],
  ])('%s', ([, more, expected]) => {
    expect(short(status(more))).toBe(expected);
  });

  test.for<[string, Partial<TargetFacts>, string]>([
    ['of the recovery point', tested, 'protected'],
    ['of an older backup', {}, 'at_risk restore_test_of_older_backup'],
    ['that never took place', { restoreTest: null }, 'at_risk never_restore_tested'],
    ['without a recovery point', { recoveryPoint: null, restoreTest: null }, 'none no_recovery_point'],
  ])('op-2.3: without a policy for restore tests, a test %s', ([, more, expected]) => {
    expect(short(status({ ...noObjectives, ...more }))).toBe(expected);
  });

  test('op-2.2: every command whose last attempt failed is a reason', () => {
    const attempts = [...failed().failedAttempts, ...failed('verify').failedAttempts];
    expect(short(status({ failedAttempts: attempts }))).toBe('at_risk last_attempt_failed last_attempt_failed');
  });

  test('says why, with the numbers', () => {
    expect(status({ ...point(30 * HOUR), ...failed() }).reasons).toEqual([
      { code: 'rpo_missed', database: 'shop', exposureMs: 30 * HOUR, rpoMs: 24 * HOUR },
      { code: 'last_attempt_failed', command: 'backup', atMs: NOW - HOUR, sinceMs: NOW - DAY, cause: 'NO_SPACE' },
    ]);
  });

  test('never gets better while time passes and nothing is reported', () => {
    const order = (state: TargetState): number => TARGET_STATES.indexOf(state);
    fc.assert(
      fc.property(
        fc.record({
          recoveryPoint: fc.option(
            fc.record({
              atMs: fc.integer({ min: NOW - 9 * DAY, max: NOW }),
              from: fc.constant('backup' as const),
              backupId: fc.constant('b'),
            }),
          ),
          restoreTest: fc.option(
            fc.record({
              atMs: fc.integer({ min: NOW - 30 * DAY, max: NOW }),
              level: fc.constant(4),
              backupId: fc.constant('b'),
            }),
          ),
          hostState: fc.constantFrom('online' as const, 'offline' as const, 'quarantined' as const),
          firstBackupDueMs: fc.option(fc.integer({ min: NOW - DAY, max: NOW + DAY })),
        }),
        fc.integer({ min: 0, max: 30 * DAY }),
        (more, passed) => {
          expect(order(status(more, NOW + passed).state)).toBeLessThanOrEqual(order(status(more).state));
        },
      ),
    );
  });
});

describe('exit statuses', () => {
  test.for<[TargetState, boolean, boolean, number]>([
    ['protected', false, false, 0],
    ['pending', false, false, 0],
    ['at_risk', true, false, 1],
    ['missed', true, true, 2],
    ['none', true, true, 2],
    ['unknown', true, true, 3],
  ])('%s: fails at risk %s, fails missed %s, Nagios %d', ([state, atRisk, missed, nagios]) => {
    expect(failsAt(state, 'at_risk')).toBe(atRisk);
    expect(failsAt(state, 'missed')).toBe(missed);
    expect(nagiosCode(state)).toBe(nagios);
  });
});
