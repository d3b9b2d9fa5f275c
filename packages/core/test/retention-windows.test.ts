import type { Retention } from '@lastgood/protocol';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { oldestNeededSegments, planRotation, type RotationCandidate } from '../src/index.ts';

const HOUR = 3_600_000;
const BEGIN = Date.parse('2026-02-01T00:00:00Z');
const hostLimits = {
  ...{ minimumKept: 1, maxRemovedPerRun: 1000, maxRemovedPerDay: 1000 },
  ...{ minimumAgeHours: 0, keepDaily: 0, keepWeekly: 0 },
};

/** One physical backup: it reads the WAL of its hour. */
interface Taken extends RotationCandidate {
  readonly hour: number;
}
/** A server that writes one WAL segment an hour, and what was stored of it. */
interface History {
  readonly backups: readonly Taken[];
  readonly segments: ReadonlySet<number>;
  readonly endHour: number;
}

const segmentName = (hour: number): string => `00000001${hour.toString(16).toUpperCase().padStart(16, '0')}`;

const stepArbitrary = fc.record({
  hours: fc.integer({ min: 1, max: 30 }),
  /** The WAL of the hour before the backup was lost. */
  hasGap: fc.boolean(),
  isGood: fc.integer({ min: 0, max: 4 }).map((n) => n > 0),
  /** Depends on the backup before it, and on what that depends on. */
  isIncremental: fc.boolean(),
  producedBytes: fc.constantFrom(1_000_000, 1_000_000, 1_000_000, 10),
});
type Step = typeof stepArbitrary extends fc.Arbitrary<infer T> ? T : never;

function historyOf(steps: readonly Step[], hoursAfter: number): History {
  const backups: Taken[] = [];
  const gaps = new Set<number>();
  let hour = 0;
  for (const [index, step] of steps.entries()) {
    hour += step.hours;
    if (step.hasGap) gaps.add(hour - 1);
    const previous = backups.at(-1);
    const isIncremental = step.isIncremental && previous?.state === 'good';
    backups.push({
      backupId: `b${index}`,
      sequence: index + 1,
      finishedAt: new Date(BEGIN + hour * HOUR).toISOString(),
      state: step.isGood ? 'good' : 'bad',
      verifiedLevel: null,
      dependsOn: isIncremental ? [previous.backupId] : [],
      parts: [{ group: 'server', content: null, producedBytes: step.producedBytes }],
      hour,
    });
  }
  const endHour = hour + hoursAfter;
  const hours = Array.from({ length: endHour + 1 }, (_, each) => each);
  return { backups, segments: new Set(hours.filter((each) => !gaps.has(each))), endHour };
}

/** The hours that can be restored: from a good backup with all it depends on, over WAL without a gap. */
function restorableHours({ backups, segments, endHour }: History): Set<number> {
  const byId = new Map(backups.map((backup) => [backup.backupId, backup]));
  const isWhole = ({ state, dependsOn }: Taken): boolean =>
    state === 'good' &&
    dependsOn.every((id) => {
      const base = byId.get(id);
      return base !== undefined && isWhole(base);
    });
  const hours = new Set<number>();
  for (const { hour } of backups.filter(isWhole))
    for (let each = hour; each <= endHour && segments.has(each); each += 1) hours.add(each);
  return hours;
}

/** What is left after some removals, and after the log was pruned for the backups that are left. */
function historyWithout(history: History, removals: readonly string[]): History {
  const backups = history.backups.filter(({ backupId }) => !removals.includes(backupId));
  const ranges = backups.map(({ hour }) => ({
    logRange: { stream: 'wal', from: segmentName(hour), to: segmentName(hour) },
  }));
  const oldest = oldestNeededSegments(ranges).get('wal') ?? '';
  return {
    ...history,
    backups,
    segments: new Set([...history.segments].filter((hour) => segmentName(hour) >= oldest)),
  };
}

test('I3: in 50,000 histories, a rotation removes no instant of the window to keep, and no backup that another one needs', () => {
  const rules = fc.record({
    keepLast: fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined }),
    keepWithinHours: fc.integer({ min: 1, max: 120 }),
  });
  fc.assert(
    fc.property(
      fc.array(stepArbitrary, { minLength: 1, maxLength: 9 }),
      fc.integer({ min: 0, max: 20 }),
      rules,
      (steps, hoursAfter, { keepLast, keepWithinHours }) => {
        const history = historyOf(steps, hoursAfter);
        const now = BEGIN + history.endHour * HOUR;
        const retention: Retention = { minimum: 1, keepWithinHours, ...(keepLast === undefined ? {} : { keepLast }) };
        const { removals } = planRotation({
          ...{ backups: history.backups, retention, holds: new Set(), inUse: new Set(), hostLimits },
          ...{ now, storeNow: now, controlNow: now, jumpedMs: 0, removedLastDay: 0, acceptedSequence: null },
        });
        const before = restorableHours(history);
        // An interruption leaves any beginning of the removals.
        for (let count = 0; count <= removals.length; count += 1) {
          const left = historyWithout(history, removals.slice(0, count));
          const ids = new Set(left.backups.map(({ backupId }) => backupId));
          for (const { dependsOn } of left.backups) expect(dependsOn.every((id) => ids.has(id))).toBe(true);
          const after = restorableHours(left);
          for (const { hour, state } of left.backups)
            if (state === 'good') expect(after.has(hour)).toBe(before.has(hour));
          const good = history.backups.filter(({ state }) => state === 'good');
          const edge = Math.max(0, (good.at(-1)?.hour ?? 0) - keepWithinHours);
          expect([...before].filter((hour) => hour >= edge && !after.has(hour))).toEqual([]);
        }
      },
    ),
    { numRuns: 50_000 },
  );
}, 240_000);
