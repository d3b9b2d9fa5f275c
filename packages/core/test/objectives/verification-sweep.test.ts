import { describe, expect, test } from 'vitest';
import { planSweep, type SweepTarget } from '../../src/objectives/index.ts';
import { HOUR, NOW } from './support.ts';

const request = { maxAgeMs: 24 * HOUR, level: 1 };
const sweep = (
  newest: Partial<NonNullable<SweepTarget['newest']>> | null,
  more: Partial<SweepTarget> = {},
  level = 1,
) => {
  const target: SweepTarget = {
    environment: 'prod',
    host: 'db-1',
    target: 'postgres',
    isOnline: true,
    newest: newest === null ? null : { backupId: 'b', atMs: NOW - HOUR, state: 'good', verifiedLevel: null, ...newest },
    ...more,
  };
  const [step] = planSweep([target], { ...request, level }, NOW);
  return [step?.verify ?? '-', ...(step?.findings ?? [])].join(' ');
};

/** What the founding verification script prints, system by system: the newest backup with its age, an alert, or that there is none. */
describe('each case of the founding verification script', () => {
  const systems = ['postgres', 'redis', 'neo4j'];
  test.for(systems)('%s: the newest backup is young', (target) => {
    expect(sweep({}, { target })).toBe('b');
  });
  test.for(systems)('%s: the newest backup has more than 24 hours', (target) => {
    expect(sweep({ atMs: NOW - 24 * HOUR }, { target })).toBe('b');
    expect(sweep({ atMs: NOW - 24 * HOUR - 1 }, { target })).toBe('b backup_too_old');
  });
  test.for(systems)('%s: there is no backup', (target) => {
    expect(sweep(null, { target })).toBe('- no_backup');
  });
});

describe('beyond the script', () => {
  test('a backup that has passed the level is not read again', () => {
    expect(sweep({ verifiedLevel: 1 })).toBe('-');
    expect(sweep({ verifiedLevel: 6 })).toBe('-');
    expect(sweep({ verifiedLevel: 1 }, {}, 4)).toBe('b');
  });
  test('a newest backup that is bad or missing is a finding, and a suspect one is verified', () => {
    expect(sweep({ state: 'bad' })).toBe('- backup_bad');
    expect(sweep({ state: 'missing' })).toBe('- backup_missing');
    expect(sweep({ state: 'suspect' })).toBe('b backup_suspect');
  });
  test('a host that is offline is a finding when its backup has to be read', () => {
    expect(sweep({}, { isOnline: false })).toBe('- host_offline');
    expect(sweep({ verifiedLevel: 1 }, { isOnline: false })).toBe('-');
  });
  test('the age is not judged without a limit, and not negative when clocks differ', () => {
    const target = { environment: 'prod', host: 'db-1', target: 'x', isOnline: true };
    const newest = { backupId: 'b', atMs: NOW + HOUR, state: 'good' as const, verifiedLevel: 1 };
    expect(planSweep([{ ...target, newest }], { maxAgeMs: null, level: 1 }, NOW)).toEqual([
      { environment: 'prod', host: 'db-1', target: 'x', findings: [], ageMs: 0, verify: null },
    ]);
  });
});
