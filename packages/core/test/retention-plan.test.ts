import { formatReason, makeReason, type Retention } from '@lastgood/protocol';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type GroupPart,
  planRotation,
  RESTORE_TEST_LEVEL,
  type RotationCandidate,
  type RotationInput,
} from '../src/index.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const NOW = Date.parse('2026-06-30T12:00:00Z');

/** The parts of a backup of these databases, each of the same size. */
const holding = (databases: string, producedBytes = 1_000_000): { parts: GroupPart[] } => ({
  parts: databases.split(' ').map((database) => ({ group: database, content: database, producedBytes })),
});
/** A good backup that finished this many days ago. Later backups have higher sequences. */
const aged = (days: number, more: Partial<RotationCandidate> = {}): RotationCandidate => ({
  backupId: `b${days}`,
  sequence: 10_000 - Math.round(days * 10),
  finishedAt: new Date(NOW - days * DAY).toISOString(),
  state: 'good',
  verifiedLevel: null,
  dependsOn: [],
  ...holding('shop'),
  ...more,
});
const hostLimits = {
  ...{ minimumKept: 1, maxRemovedPerRun: 1000, maxRemovedPerDay: 1000 },
  ...{ minimumAgeHours: 0, keepDaily: 0, keepWeekly: 0 },
};
const plan = (backups: RotationCandidate[], retention: Partial<Retention>, more: Partial<RotationInput> = {}) =>
  planRotation({
    backups,
    retention: { minimum: 1, ...retention },
    holds: new Set(),
    inUse: new Set(),
    now: NOW,
    storeNow: NOW,
    controlNow: NOW,
    jumpedMs: 0,
    hostLimits,
    removedLastDay: 0,
    acceptedSequence: null,
    ...more,
  });
const kept = (result: ReturnType<typeof plan>): string[] =>
  result.decisions.filter((decision) => decision.keep).map((decision) => decision.backupId);
function reasonOf(result: ReturnType<typeof plan>, id: string): string | undefined {
  const decision = result.decisions.find(({ backupId }) => backupId === id);
  return decision === undefined ? undefined : formatReason(decision.reason);
}

test('keeps the newest N and gives a reason for every decision', () => {
  const result = plan([aged(3), aged(2), aged(1), aged(0)], { keepLast: 2 });
  expect(kept(result)).toEqual(['b1', 'b0']);
  expect(reasonOf(result, 'b3')).toBe('not kept by any rule');
});

test('keeps the backups in the window and the last one before it', () => {
  expect(kept(plan([aged(9), aged(8), aged(6), aged(1), aged(0)], { keepWithinHours: 7 * 24 }))).toEqual([
    'b8',
    'b6',
    'b1',
    'b0',
  ]);
});

test('keeps everything when no rule is given', () => {
  const result = plan([aged(900), aged(0)], {});
  expect(kept(result)).toEqual(['b900', 'b0']);
  expect(reasonOf(result, 'b900')).toBe('no retention rule is set');
});

test('backups of one group do not displace backups of another', () => {
  expect(kept(plan([aged(9, holding('other')), aged(1), aged(0)], { keepLast: 1 }))).toEqual(['b9', 'b0']);
});

test('a created or dropped database starts no new group, and the last backup of a dropped one is kept', () => {
  const backups = [
    aged(5, holding('shop')),
    aged(4, holding('shop')),
    aged(3, holding('shop copy')),
    aged(2, holding('shop copy')),
    aged(1, holding('shop crm')),
    aged(0, holding('shop crm')),
  ];
  const result = plan(backups, { keepLast: 2 });
  expect(kept(result)).toEqual(['b3', 'b2', 'b1', 'b0']);
  expect(reasonOf(result, 'b2')).toBe('the last good backup of "copy"');
  expect(reasonOf(result, 'b0')).toBe('the last good backup');
});

test('D4: an emptied database does not displace its good backups, although others in the same backup are intact', () => {
  const whole = holding('shop crm').parts;
  const shrunk = [...holding('shop').parts, ...holding('crm', 1).parts];
  const result = plan([aged(3, { parts: whole }), aged(2, { parts: whole }), aged(0, { parts: shrunk })], {
    keepLast: 1,
  });
  expect(kept(result)).toEqual(['b2', 'b0']);
  expect(reasonOf(result, 'b2')).toBe('the last good backup of "crm"');
});

test('growth by a few KiB in an almost empty database is not suspect', () => {
  const series = [aged(3, holding('shop', 1_000)), aged(2, holding('shop', 1_000)), aged(0, holding('shop', 9_000))];
  expect(kept(plan(series, { keepLast: 1 }))).toEqual(['b0']);
});

test('D1: a clock that jumped forward deletes nothing', () => {
  const backups = [aged(40), aged(1), aged(0)];
  for (const jump of [40 * DAY, 3650 * DAY]) {
    expect(plan(backups, { keepLast: 1 }, { now: NOW + jump }).refused?.code).toBe('CLOCKS_OF_REPOSITORY_APART');
    expect(plan(backups, { keepLast: 1 }, { now: NOW + jump, storeNow: NOW + jump }).refused?.code).toBe(
      'CLOCKS_OF_CONTROL_APART',
    );
    expect(
      kept(plan(backups, { keepWithinHours: 48 }, { now: NOW + jump, storeNow: NOW + jump, controlNow: NOW + jump })),
    ).toEqual(['b40', 'b1', 'b0']);
  }
});

test('D2: a clock that jumped back deletes nothing, and sequence decides the order', () => {
  expect(plan([aged(1), aged(0)], { keepLast: 1 }, { now: 0, storeNow: 0, controlNow: 0 }).refused?.code).toBe(
    'CLOCK_AHEAD_OF_BACKUPS',
  );
  const back = { ...aged(0), finishedAt: '1970-01-01T00:00:00Z' };
  expect(kept(plan([aged(2), aged(1), back], { keepLast: 1 }))).toEqual(['b0']);
});

test('D2: a backup dated 1970 or in the future never counts as older than its predecessor and displaces no other', () => {
  const misdated = (days: number, finishedAt: string): RotationCandidate => ({ ...aged(days), finishedAt });
  const week = { keepWithinHours: 7 * 24 };
  for (const instant of ['1970-01-01T00:00:00Z', '2036-01-01T00:00:00Z']) {
    expect(kept(plan([aged(9), aged(8), misdated(7.5, instant), aged(6), aged(0)], week))).toEqual([
      'b7.5',
      'b6',
      'b0',
    ]);
    expect(kept(plan([aged(9), aged(8), aged(6), misdated(3, instant), aged(0)], week))).toEqual([
      'b8',
      'b6',
      'b3',
      'b0',
    ]);
    const young = { hostLimits: { ...hostLimits, minimumAgeHours: 49 } };
    expect(kept(plan([misdated(2, instant), aged(1), aged(0)], { keepLast: 1 }, young))).toEqual(['b2', 'b1', 'b0']);
  }
});

test('D1: a backup dated by a fast clock makes its successors younger, never older', () => {
  const ahead = { ...aged(9), finishedAt: new Date(NOW - 2 * DAY).toISOString() };
  expect(kept(plan([aged(10), ahead, aged(8), aged(1), aged(0)], { keepWithinHours: 72 }))).toEqual([
    'b10',
    'b9',
    'b8',
    'b1',
    'b0',
  ]);
});

test('D1: removes nothing after a jump of the host clock, even when all clocks agree', () => {
  const backups = [aged(40), aged(1), aged(0)];
  const jumped = NOW + 40 * DAY;
  const result = plan(
    backups,
    { keepLast: 1 },
    { now: jumped, storeNow: jumped, controlNow: jumped, jumpedMs: 40 * DAY },
  );
  expect(result.refused).toEqual(makeReason('CLOCK_JUMPED', { minutes: expect.any(Number) as number }));
  expect(kept(result)).toEqual(['b40', 'b1', 'b0']);
});

test('D2: one backup dated in the future does not block rotation once the clock is correct', () => {
  const future = { ...aged(9), finishedAt: '2036-01-01T00:00:00Z' };
  expect(kept(plan([aged(10), future, aged(1), aged(0)], { keepLast: 1 }))).toEqual(['b0']);
});

test('D3: keeps the last good backup when no backup has succeeded within the window', () => {
  expect(kept(plan([aged(20), aged(10), aged(9), aged(8)], { keepWithinHours: 24 }))).toEqual(['b10', 'b9', 'b8']);
  expect(kept(plan([aged(8)], { keepWithinHours: 24 }))).toEqual(['b8']);
});

test('D4: tiny and bad backups do not displace good ones', () => {
  const tiny = [
    aged(0.3, holding('shop', 1)),
    aged(0.2, holding('shop', 1)),
    aged(0.1, holding('shop', 1)),
    aged(0, { state: 'bad' }),
  ];
  const result = plan([aged(4), aged(3), aged(2, { verifiedLevel: 1 }), aged(1), ...tiny], { keepLast: 2 });
  expect(kept(result)).toEqual(['b2', 'b1', 'b0.3', 'b0.2', 'b0.1', 'b0']);
  expect(reasonOf(result, 'b0.3')).toContain('suspect');
});

test('keeps the last restore-tested backup when newer ones were only re-read', () => {
  const reread = { verifiedLevel: 1 };
  const result = plan([aged(100, { verifiedLevel: 6 }), aged(2, reread), aged(1, reread), aged(0, reread)], {
    keepLast: 1,
  });
  expect(reasonOf(result, 'b100')).toBe('the last restore-tested backup');
});

test('the last verified backup is kept although its size is suspect, and so is the one of a usual size', () => {
  const tiny = (days: number, verifiedLevel: number | null): RotationCandidate =>
    aged(days, { verifiedLevel, ...holding('shop', 1) });
  const result = plan([aged(4), aged(3, { verifiedLevel: 1 }), tiny(2, 1), aged(1), aged(0)], { keepLast: 1 });
  expect(kept(result)).toEqual(['b3', 'b2', 'b0']);
});

test('a backup of suspect size counts as good after a restore test', () => {
  const series = [aged(5), aged(4), aged(3), aged(2)];
  const tiny = (level: number | null) => aged(0, { ...holding('shop', 1), verifiedLevel: level });
  expect(reasonOf(plan([...series, tiny(null)], { keepLast: 1 }), 'b0')).toBe('its size is suspect');
  expect(reasonOf(plan([...series, tiny(4)], { keepLast: 1 }), 'b0')).toBe('the last good backup');
});

test('keeps the last verified backup regardless of its age', () => {
  const result = plan([aged(100, { verifiedLevel: 1 }), aged(2), aged(1), aged(0)], { keepLast: 1 });
  expect(kept(result)).toEqual(['b100', 'b0']);
  expect(reasonOf(result, 'b100')).toBe('the last verified backup');
});

test('D5: keeps backups that are held or in use', () => {
  const result = plan(
    [aged(3), aged(2), aged(1), aged(0)],
    { keepLast: 1 },
    { holds: new Set(['b3']), inUse: new Set(['b2']) },
  );
  expect(kept(result)).toEqual(['b3', 'b2', 'b0']);
});

describe('dependencies', () => {
  /** Two chains, each of a full backup and two incremental backups. */
  const chains = [
    aged(9),
    aged(8, { dependsOn: ['b9'] }),
    aged(7, { dependsOn: ['b8', 'b9'] }),
    aged(3),
    aged(2, { dependsOn: ['b3'] }),
    aged(1, { dependsOn: ['b3', 'b2'] }),
  ];
  test('I3, D6: keep direct and indirect dependencies of a kept backup, and name that backup', () => {
    const result = plan(chains, { keepLast: 1 });
    expect(kept(result)).toEqual(['b3', 'b2', 'b1']);
    expect(reasonOf(result, 'b3')).toBe('backup b1 depends on it');
    const nested = [aged(3), aged(2, { dependsOn: ['b3'] }), aged(1, { dependsOn: ['b2'] })];
    expect(reasonOf(plan(nested, { keepLast: 1 }), 'b3')).toBe('backup b2 depends on it');
  });
  test('I3: keep the dependencies of a held backup', () => {
    expect(kept(plan(chains, { keepLast: 1 }, { holds: new Set(['b8']) }))).toEqual(['b9', 'b8', 'b3', 'b2', 'b1']);
  });
  test('remove dependents before their dependencies', () => {
    expect(plan([...chains, aged(0)], { keepLast: 1 }).removals).toEqual(['b7', 'b8', 'b9', 'b1', 'b2', 'b3']);
  });
  test('D10: a limited removal leaves the older end of a chain', () => {
    const result = plan([...chains, aged(0)], { keepLast: 1 }, { hostLimits: { ...hostLimits, maxRemovedPerRun: 2 } });
    expect(result.removals).toEqual(['b7', 'b8']);
    expect(kept(result)).toEqual(['b9', 'b3', 'b2', 'b1', 'b0']);
  });
});

test('a backup made by a newer version is never removed and displaces no other', () => {
  const result = plan([aged(9, { state: 'unknown' }), aged(2), aged(1), aged(0, { state: 'unknown' })], {
    keepLast: 1,
  });
  expect(kept(result)).toEqual(['b9', 'b1', 'b0']);
  expect(reasonOf(result, 'b9')).toBe('made by a newer version');
});

describe('host limits', () => {
  const many = [5, 4, 3, 2, 1, 0].map((days) => aged(days));
  test('keep a minimum number of backups', () => {
    expect(kept(plan(many, { keepLast: 1 }, { hostLimits: { ...hostLimits, minimumKept: 4 } }))).toHaveLength(4);
  });
  test('D10: limit the removals of one run and remove the oldest first', () => {
    expect(kept(plan(many, { keepLast: 1 }, { hostLimits: { ...hostLimits, maxRemovedPerRun: 2 } }))).toEqual([
      'b3',
      'b2',
      'b1',
      'b0',
    ]);
  });
  test('keep backups younger than the minimum age', () => {
    expect(kept(plan(many, { keepLast: 1 }, { hostLimits: { ...hostLimits, minimumAgeHours: 49 } }))).toEqual([
      'b2',
      'b1',
      'b0',
    ]);
  });
});

test('I3, D6: no policy removes the last good, restore-tested or verified backup, a held one or a dependency', () => {
  const candidate = fc.record({
    days: fc.integer({ min: 0, max: 400 }),
    state: fc.constantFrom('good' as const, 'bad' as const, 'unknown' as const),
    verifiedLevel: fc.constantFrom(null, 0, 1, 3, 4, 6),
    databases: fc.constantFrom('a', 'b', 'a b', 'a b c'),
    producedBytes: fc.integer({ min: 0, max: 5_000_000 }),
    // How many positions before it its dependencies are.
    dependsOn: fc.uniqueArray(fc.integer({ min: 1, max: 12 }), { maxLength: 3 }),
  });
  const retention = fc.record({
    keepLast: fc.option(fc.integer({ min: 1, max: 5 }), { nil: undefined }),
    keepWithinHours: fc.option(fc.integer({ min: 1, max: 2000 }), { nil: undefined }),
    minimum: fc.integer({ min: 1, max: 3 }),
  });
  fc.assert(
    fc.property(
      fc.array(candidate, { minLength: 1, maxLength: 12 }),
      retention,
      fc.integer({ min: 0, max: 11 }),
      fc.constantFrom(0, 1, 2, 1_000),
      (drafts, rules, heldIndex, maxRemovedPerRun) => {
        const backups = drafts.map((draft, index) => ({
          ...aged(draft.days),
          state: draft.state,
          ...holding(draft.databases, draft.producedBytes),
          verifiedLevel: draft.state === 'good' ? draft.verifiedLevel : null,
          backupId: `b${index}`,
          sequence: index + 1,
          dependsOn: draft.dependsOn.map((before) => `b${index - before}`),
        }));
        const { keepLast, keepWithinHours, minimum } = rules;
        const policy = {
          minimum,
          ...(keepLast === undefined ? {} : { keepLast }),
          ...(keepWithinHours === undefined ? {} : { keepWithinHours }),
        };
        const limits = { ...hostLimits, maxRemovedPerRun };
        const result = plan(backups, policy, { holds: new Set([`b${heldIndex}`]), hostLimits: limits });
        const stay = new Set(kept(result));
        expect(result.removals.toSorted()).toEqual(
          backups.flatMap(({ backupId }) => (stay.has(backupId) ? [] : [backupId])).toSorted(),
        );
        // At any point of an interruption, the remaining backups have their dependencies.
        const left = new Map(backups.map((backup) => [backup.backupId, backup]));
        const lost = backups.map(({ dependsOn }) => dependsOn.filter((id) => !left.has(id)));
        for (const removal of [undefined, ...result.removals]) {
          if (removal !== undefined) left.delete(removal);
          for (const [index, { backupId, dependsOn }] of backups.entries())
            if (left.has(backupId)) expect(dependsOn.filter((id) => !left.has(id))).toEqual(lost[index]);
        }
        for (const group of ['a', 'b', 'c']) {
          const good = backups.filter(
            (backup) => backup.state === 'good' && backup.parts.some((part) => part.group === group),
          );
          if (good.length > 0) expect(good.some((backup) => stay.has(backup.backupId))).toBe(true);
          for (const level of [0, RESTORE_TEST_LEVEL]) {
            const verified = good.filter((backup) => (backup.verifiedLevel ?? -1) >= level).at(-1);
            if (verified !== undefined) expect(stay).toContain(verified.backupId);
          }
        }
        if (backups.some((backup) => backup.backupId === `b${heldIndex}`)) expect(stay).toContain(`b${heldIndex}`);
      },
    ),
    { numRuns: 2_000 },
  );
});
