import type { DatabaseStatus, TargetStatus } from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { compareRows, type FleetRow, fleetRowOf, verdictOf } from '../src/data/fleet-row.ts';

const AT = '2026-01-15T12:00:00.000Z';
const BACKUP = '0197f000-0000-7000-8000-000000000001';

const database = (more: Partial<DatabaseStatus>): DatabaseStatus => ({
  database: 'shop',
  state: 'protected',
  reasons: [],
  onServer: true,
  copy: null,
  recoveryPoint: { backupId: BACKUP, at: AT },
  goodCopies: ['local'],
  exposureMs: 60_000,
  restoreTime: { basis: 'measured', ms: 5_000, at: AT },
  restoreTest: { backupId: BACKUP, at: AT, level: 4, ofRecoveryPoint: true },
  ...more,
});
const status = (databases: readonly DatabaseStatus[], more: Partial<TargetStatus> = {}): TargetStatus => ({
  environment: 'prod',
  host: 'db-1',
  hostState: 'online',
  target: 'shop',
  state: 'protected',
  serverState: 'ok',
  reasons: [],
  findings: [],
  databases: [...databases],
  objectives: null,
  ...more,
});
const row = (more: Partial<FleetRow>): FleetRow => ({ ...fleetRowOf(status([database({})])), ...more });

test('a target is as exposed, as slow and as untested as the worst of its databases', () => {
  const other = database({
    database: 'orders',
    exposureMs: 7_200_000,
    recoveryPoint: { backupId: BACKUP, at: '2026-01-15T10:00:00.000Z' },
    restoreTime: { basis: 'estimated', ms: 9_000 },
    restoreTest: { backupId: BACKUP, at: '2026-01-01T00:00:00.000Z', level: 5, ofRecoveryPoint: false },
  });
  expect(fleetRowOf(status([database({}), other]))).toMatchObject({
    exposureMs: 7_200_000,
    recoveryPointAt: Date.parse('2026-01-15T10:00:00.000Z'),
    restoreTime: { ms: 9_000, isEstimated: true },
    restoreTest: { level: 5, isOfRecoveryPoint: false },
  });
});

test('one database without a recovery point or a restore test decides for its target', () => {
  const bare = database({
    recoveryPoint: null,
    exposureMs: null,
    restoreTime: { basis: 'unknown' },
    restoreTest: null,
  });
  const expected = { exposureMs: null, recoveryPointAt: null, restoreTime: null, restoreTest: null };
  expect(fleetRowOf(status([database({}), bare]))).toMatchObject(expected);
  expect(fleetRowOf(status([bare, database({})]))).toMatchObject(expected);
});

test('excluded databases and copies that a restore made do not count', () => {
  const excluded = database({ database: 'tmp', state: null, recoveryPoint: null, exposureMs: null });
  const copy = database({ database: 'shop_copy', copy: { jobId: BACKUP, of: 'shop' }, exposureMs: null });
  expect(fleetRowOf(status([database({}), excluded, copy])).exposureMs).toBe(60_000);
});

test('rows are ordered by state, then by exposure against the objective, then by name', () => {
  const rows = [
    row({ name: 'a', state: 'protected', exposureMs: 1_000, rpoMs: 3_600_000 }),
    row({ name: 'b', state: 'missed', exposureMs: 7_200_000, rpoMs: 3_600_000 }),
    row({ name: 'c', state: 'missed', exposureMs: 72_000_000, rpoMs: 3_600_000 }),
    row({ name: 'd', state: 'none', exposureMs: null }),
    row({ name: 'e', state: 'unknown' }),
  ];
  expect(rows.toSorted(compareRows).map(({ name }) => name)).toEqual(['d', 'c', 'b', 'e', 'a']);
});

test('rows whose exposure differs by seconds keep their order by name', () => {
  const rows = [row({ name: 'b', exposureMs: 9_000 }), row({ name: 'a', exposureMs: 2_000 })];
  expect(rows.toSorted(compareRows).map(({ name }) => name)).toEqual(['a', 'b']);
});

test.each([
  [[], 'No hosts are enrolled, so nothing is protected.'],
  [['protected'], 'The only target is protected.'],
  [['protected', 'protected'], 'All 2 targets are protected.'],
  [['protected', 'at_risk'], '1 of 2 targets is at risk.'],
  [['pending', 'protected'], '1 of 2 targets waits for a first backup.'],
  [['none', 'missed', 'protected'], '2 of 3 targets cannot be restored within their objective.'],
  [['missed', 'unknown'], '1 of 2 targets cannot be restored within its objective, 1 unknown: no report.'],
  [['unknown', 'at_risk'], '1 target unknown: no report.'],
] as const)('the verdict on %j is "%s"', (states, verdict) => {
  expect(verdictOf(states.map((state) => row({ state })))).toBe(verdict);
});
