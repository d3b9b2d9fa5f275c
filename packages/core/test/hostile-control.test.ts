import { formatReason } from '@lastgood/protocol';
import { describe, expect, test } from 'vitest';
import {
  forecastRemovals,
  type HostLimits,
  planRotation,
  type RotationCandidate,
  type RotationInput,
  sizeChangesIn,
} from '../src/index.ts';

const DAY = 86_400_000;
const NOW = Date.parse('2026-06-24T12:00:00Z');
const MIB = 1024 * 1024;
/** The defaults of the agent file with `rotate: true`. */
const DEFAULTS: HostLimits = {
  ...{ minimumKept: 1, maxRemovedPerRun: 50, maxRemovedPerDay: 25 },
  ...{ minimumAgeHours: 168, keepDaily: 7, keepWeekly: 4 },
};
const OPEN: HostLimits = { ...DEFAULTS, minimumAgeHours: 0, keepDaily: 0, keepWeekly: 0, maxRemovedPerDay: 400 };

/** A good backup of one database, this many days old. */
const aged = (days: number, bytes = 100 * MIB, more: Partial<RotationCandidate> = {}): RotationCandidate => ({
  backupId: `b${days}`,
  sequence: 10_000 - Math.round(days * 100),
  finishedAt: new Date(NOW - days * DAY).toISOString(),
  state: 'good',
  verifiedLevel: null,
  parts: [{ group: 'shop', content: 'shop', producedBytes: bytes }],
  dependsOn: [],
  ...more,
});
/** A backup that was restore-tested, by order of an attacker. */
const tested = (days: number, bytes: number) => aged(days, bytes, { verifiedLevel: 6 });
const daily = (count: number): RotationCandidate[] => Array.from({ length: count }, (_, n) => aged(count - n));

/** The harshest rotation that a control plane can order. */
const rotate = (backups: RotationCandidate[], hostLimits: HostLimits, more: Partial<RotationInput> = {}) =>
  planRotation({
    ...{ backups, hostLimits, retention: { keepLast: 1, minimum: 1 }, holds: new Set(), inUse: new Set() },
    ...{ now: NOW, storeNow: NOW, controlNow: NOW, jumpedMs: 0, removedLastDay: 0, acceptedSequence: null },
    ...more,
  });
const keptOf = (plan: ReturnType<typeof rotate>) =>
  plan.decisions.filter(({ keep }) => keep).map(({ backupId }) => backupId);
const reasonOf = (plan: ReturnType<typeof rotate>, id: string) =>
  formatReason(plan.decisions.find(({ backupId }) => backupId === id)?.reason ?? { code: 'none', params: {} });

describe('attack-B4: a change of size', () => {
  const before = [aged(4), aged(3), aged(2)];
  const ruined = [tested(0.3, 1_000), tested(0.2, 1_000), tested(0.1, 1_000)];

  test('restore-tested backups of ruined data push out none from before the size changed', () => {
    const plan = rotate([...before, ...ruined], { ...OPEN, minimumKept: 3 });
    expect(keptOf(plan)).toEqual([...before, ...ruined].map(({ backupId }) => backupId));
    expect(reasonOf(plan, 'b2')).toBe(
      'from before a change of size that its host has not accepted (`lastgood agent accept`)',
    );
  });

  test('three larger backups in a row, as after encryption by an attacker, push out none either', () => {
    const larger = [aged(0.3, 900 * MIB), aged(0.2, 900 * MIB), aged(0.1, 900 * MIB)];
    expect(keptOf(rotate([...before, ...larger], OPEN))).toContain('b2');
  });

  test('several changes protect what was there before each of them', () => {
    const again = [tested(0.04, 50 * MIB), tested(0.03, 50 * MIB)];
    const kept = keptOf(rotate([...before, ...ruined, ...again], OPEN));
    expect(kept).toEqual(expect.arrayContaining(['b2', 'b0.1', 'b0.03']));
  });

  test('what the host has accepted is rotated by the rules again', () => {
    const all = [...before, ...ruined];
    const changes = sizeChangesIn(all, null);
    expect(changes).toMatchObject([{ backupId: 'b0.3', content: 'shop', producedBytes: 1_000 }]);
    const acceptedSequence = Math.max(...all.map(({ sequence }) => sequence));
    expect(sizeChangesIn(all, acceptedSequence)).toEqual([]);
    expect(keptOf(rotate(all, OPEN, { acceptedSequence }))).toEqual(['b0.1']);
  });

  test('an honest history is rotated as before: sizes that grow slowly need no consent', () => {
    const growing = Array.from({ length: 30 }, (_, n) => aged(30 - n, (100 + 3 * n) * MIB));
    expect(sizeChangesIn(growing, null)).toEqual([]);
    expect(keptOf(rotate(growing, OPEN))).toEqual(['b1']);
  });
});

describe('attack-B4: the rule of the host', () => {
  test('the first backup of each of seven days and four weeks stays, whatever is ordered', () => {
    const plan = rotate(daily(60), { ...DEFAULTS, minimumAgeHours: 0, maxRemovedPerRun: 400, maxRemovedPerDay: 400 });
    // The 24th of June 2026 is a Wednesday: the Mondays before are 2, 9, 16 and 23 days ago.
    expect(keptOf(plan)).toEqual(['b23', 'b16', 'b9', 'b7', 'b6', 'b5', 'b4', 'b3', 'b2', 'b1']);
    expect(reasonOf(plan, 'b16')).toBe('the first of its week (host limit)');
    expect(reasonOf(plan, 'b5')).toBe('the first of its day (host limit)');
  });

  test('any number of later backups of one day displaces no earlier one', () => {
    const flood = Array.from({ length: 100 }, (_, n) => tested(0.3 - n / 1_000, 100 * MIB));
    const limits = { ...DEFAULTS, minimumAgeHours: 0, maxRemovedPerDay: 400, maxRemovedPerRun: 400 };
    expect(keptOf(rotate([...daily(6), ...flood], limits))).toEqual(expect.arrayContaining(['b6', 'b5', 'b1']));
  });

  test('at most so many are removed within 24 hours, in however many rotations', () => {
    const removed = (removedLastDay: number) => rotate(daily(90), DEFAULTS, { removedLastDay }).removals.length;
    expect([removed(0), removed(20), removed(25), removed(99)]).toEqual([25, 5, 0, 0]);
    const plan = rotate(daily(90), DEFAULTS, { removedLastDay: 25 });
    expect(reasonOf(plan, 'b90')).toBe('at most 25 are removed within 24 hours (host limit)');
  });
});

describe('attack-B4: the forecast of what a hostile control plane could remove', () => {
  test('with the defaults two weeks of daily backups lose little in a week', () => {
    const forecast = forecastRemovals(daily(14), DEFAULTS, null, NOW);
    expect(forecast.withinDay).toBeLessThan(7);
    expect(forecast.left).toBeGreaterThanOrEqual(3);
    expect(forecast.withinWeek + forecast.left).toBe(14);
  });

  test('without limits of age and period every backup could be removed within a day', () => {
    expect(forecastRemovals(daily(14), OPEN, null, NOW)).toEqual({ withinDay: 14, withinWeek: 14, left: 0 });
  });

  test('the daily limit bounds both', () => {
    const forecast = forecastRemovals(daily(60), { ...OPEN, maxRemovedPerDay: 3 }, null, NOW);
    expect(forecast).toEqual({ withinDay: 3, withinWeek: 21, left: 39 });
  });
});
