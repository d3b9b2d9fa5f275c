import { makeFinding } from '@lastgood/protocol';
import { aManifest, aStoredBackup } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { expectedBytes, partsOf, type StoredBackup, summariesOf } from '../src/index.ts';

/** A backup of these databases with the produced bytes of each. */
const backup = (sequence: number, databases: Record<string, number>, passedLevel?: 1 | 4): StoredBackup =>
  aStoredBackup(aManifest(databases, { sequence }), {
    verified: passedLevel === undefined ? null : { level: passedLevel, at: '2026-01-01T00:00:00Z', passed: true },
  });
const MIB = 1_048_576;

test('keeps the group of a database when other databases are added or dropped', () => {
  const groups = (databases: Record<string, number>) =>
    partsOf(backup(1, databases).manifest).map(({ group }) => group);
  expect(groups({ shop: 1, copy: 1 })[0]).toBe(groups({ shop: 2 })[0]);
  expect(new Set(groups({ shop: 1, copy: 1 })).size).toBe(2);
});

test('puts a backup without contents into one group of its method, with the size of all objects', () => {
  expect(partsOf(aManifest({}))).toEqual([{ group: expect.any(String), content: null, producedBytes: 1_000 }]);
  const [logical] = partsOf(aManifest({}));
  const [physical] = partsOf(aManifest({}, { method: 'physical' }));
  expect(logical?.group).not.toBe(physical?.group);
});

test('puts a backup of a whole server into one group, so that a dropped database keeps no old backup', () => {
  const whole = (databases: Record<string, number>) => {
    const { objects, ...manifest } = aManifest(databases, { method: 'physical' });
    return partsOf({ ...manifest, objects: objects.map((object) => ({ ...object, contents: null })) });
  };
  expect(whole({ shop: 500, dropped: 500 })).toEqual([
    { group: whole({ shop: 1 })[0]?.group, content: null, producedBytes: 2_000 },
  ]);
});

test('marks a backup suspect when one of its databases shrank, until a restore test passes', () => {
  const series = [backup(1, { shop: 900 * MIB, crm: MIB }), backup(2, { shop: 900 * MIB, crm: MIB })];
  const states = (level?: 1 | 4) =>
    summariesOf([...series, backup(3, { shop: 900 * MIB, crm: 10 }, level)], 'local').map(({ state }) => state);
  expect(states()).toEqual(['good', 'good', 'suspect']);
  expect(states(1)).toEqual(['good', 'good', 'suspect']);
  expect(states(4)).toEqual(['good', 'good', 'good']);
});

test('does not mark a backup suspect when a database is added or dropped', () => {
  const series = [backup(1, { shop: MIB }), backup(2, { shop: MIB, huge: 900 * MIB }), backup(3, { shop: MIB })];
  expect(summariesOf(series, 'local').map(({ state }) => state)).toEqual(['good', 'good', 'good']);
});

test('summarizes contents, dependencies and whether this version can restore the backup', () => {
  const reason = { code: 'NEWER_FORMAT' as const, params: { part: 'method', name: 'physical' } };
  const stored = aStoredBackup(aManifest({ shop: 500 }, { method: 'physical', dependsOn: ['base'] }), {
    restorable: { ok: false, reason },
    remark: makeFinding('VERDICT_UNREADABLE', null, { reason: 'x' }),
  });
  expect(summariesOf([stored], 'local')).toMatchObject([
    {
      method: 'physical',
      recoveryPoint: stored.manifest.recoveryPoint,
      contents: [{ kind: 'database', name: 'shop', bytes: 500 }],
      dependsOn: ['base'],
      restorable: { ok: false, reason },
      producedBytes: 1_500,
      storedBytes: 150,
      warnings: [{ code: 'VERDICT_UNREADABLE' }],
    },
  ]);
});

test('estimates the size of a backup from the last backup of each database', () => {
  const series = [backup(1, { shop: 5_000, huge: 90_000_000 }), backup(2, { shop: 7_000 })];
  // The globals, which belong to every database, take 100 of them.
  expect(expectedBytes(series, ['shop'])).toBe(800);
  expect(expectedBytes(series, ['shop', 'huge', 'new'])).toBe(9_000_800);
  expect(expectedBytes([], ['shop'])).toBe(0);
});
