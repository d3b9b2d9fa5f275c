import { describe, expect, test } from 'vitest';
import {
  compareWorstFirst,
  type RestoreMeasurement,
  restoreTimeOf,
  rollUp,
  rollUpEnvironments,
} from '../../src/objectives/index.ts';
import { DAY, HOUR, NOW, status } from './support.ts';

const at = (ageMs: number) => ({ recoveryPoint: { atMs: NOW - ageMs, from: 'backup' as const, backupId: 'b2' } });

describe('a list of targets', () => {
  test('begins with the worst state, then with the one that is closest to its objective, then by name', () => {
    const list = [
      status({ host: 'good' }),
      status({ host: 'b', ...at(20 * HOUR) }),
      status({ host: 'a', ...at(20 * HOUR) }),
      status({ host: 'risky', ...at(23 * HOUR) }),
      status({ host: 'silent', isReported: false }),
      status({ host: 'late', ...at(50 * HOUR) }),
      status({ host: 'later', ...at(99 * HOUR) }),
      status({ host: 'empty', recoveryPoint: null }),
    ];
    expect(list.toSorted(compareWorstFirst).map(({ host }) => host)).toEqual([
      'empty',
      'later',
      'late',
      'silent',
      'risky',
      'a',
      'b',
      'good',
    ]);
  });
});

describe('a rollup', () => {
  test('counts every target, also those that did not report', () => {
    const rollup = rollUp([
      status(),
      status({ isReported: false }),
      status({ ...at(30 * HOUR), restoreTime: { basis: 'estimated', ms: 2 * HOUR } }),
      status({ restoreTest: { atMs: NOW - 30 * DAY, level: 4, backupId: 'b' } }),
    ]);
    expect(rollup).toEqual({
      targets: 4,
      states: { none: 0, missed: 1, unknown: 1, at_risk: 1, pending: 0, protected: 1 },
      worst: 'missed',
      worstExposureMs: 30 * HOUR,
      worstRestoreMs: 2 * HOUR,
      restoreTested: 2,
    });
  });

  test('of nothing is protected and knows no numbers', () => {
    expect(rollUp([])).toMatchObject({ targets: 0, worst: 'protected', worstExposureMs: null, worstRestoreMs: null });
  });

  test('is made per environment', () => {
    const rollups = rollUpEnvironments([status({ environment: 'staging' }), status(), status({ recoveryPoint: null })]);
    expect([...rollups].map(([name, { targets, worst }]) => [name, targets, worst])).toEqual([
      ['prod', 2, 'none'],
      ['staging', 1, 'protected'],
    ]);
  });
});

describe('the restore time', () => {
  const MIB = 1024 * 1024;
  const subject = {
    environment: 'prod',
    host: 'db-1',
    target: 'shop',
    engine: 'postgres',
    method: 'logical',
    content: null,
    bytes: 100 * MIB,
  };
  const measured = (more: Partial<RestoreMeasurement>): RestoreMeasurement => ({
    ...subject,
    durationMs: 10_000,
    atMs: NOW,
    ...more,
  });
  test('is that of the last restore or restore test of the target', () => {
    const all = [measured({ durationMs: 5_000, atMs: NOW - DAY }), measured({ durationMs: 7_000 })];
    expect(restoreTimeOf(subject, all)).toEqual({ basis: 'measured', ms: 7_000, atMs: NOW });
  });
  test('is estimated from the median speed on the same host', () => {
    const all = [5_000, 10_000, 40_000].map((durationMs) => measured({ target: 'crm', durationMs }));
    const elsewhere = measured({ host: 'db-2', durationMs: 1 });
    expect(restoreTimeOf({ ...subject, bytes: 200 * MIB }, [...all, elsewhere])).toEqual({
      basis: 'estimated',
      ms: 20_000,
    });
  });
  test('is estimated from the fleet when the host has restored nothing of the kind', () => {
    const all = [measured({ host: 'db-2' }), measured({ target: 'cache', engine: 'redis', durationMs: 1 })];
    expect(restoreTimeOf(subject, all)).toEqual({ basis: 'estimated', ms: 10_000 });
  });
  test('is not estimated from a restore of a few bytes', () => {
    expect(restoreTimeOf(subject, [measured({ target: 'crm', bytes: 219, durationMs: 10_000 })])).toEqual({
      basis: 'unknown',
    });
  });
  test('is unknown when no restore of the engine and method was measured', () => {
    expect(restoreTimeOf(subject, [measured({ host: 'db-2', method: 'physical' })])).toEqual({ basis: 'unknown' });
  });
});
