import type { BackupSummary } from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { type BackupSelection, requireBackup, selectBackup } from '../src/index.ts';

type Candidate = Parameters<typeof selectBackup>[0][number];
const HOUR_MS = 3_600_000;
const START_MS = Date.parse('2026-03-01T00:00:00Z');
const NEWER = { ok: false as const, reason: { code: 'NEWER_FORMAT' as const, params: { part: 'method', name: 'x' } } };

/** A backup taken at an hour. Its id begins and ends with the number of the hour. */
const backupOf = (hour: number, databases: readonly string[], more: Partial<Candidate> = {}): Candidate => ({
  backupId: `${String(hour).padStart(8, '0')}-0000-7000-8000-${String(hour).padStart(12, '0')}`,
  target: 'shop',
  sequence: hour,
  state: 'good',
  contents: databases.map((name) => ({ kind: 'database', name, bytes: 1 })),
  restoreUnit: 'database',
  restorable: { ok: true },
  recoveryPoint: new Date(START_MS + hour * HOUR_MS).toISOString(),
  ...more,
});
const latest = { type: 'latest' } as const;
const hourOf = (selection: BackupSelection<Candidate>): number | string =>
  selection.type === 'selected' ? selection.backup.sequence : selection.type;

test.for<[string, Partial<Candidate>, number, number]>([
  ['is good', {}, 3, 3],
  ['is suspect', { state: 'suspect' }, 3, 2],
  ['is bad', { state: 'bad' }, 2, 2],
  ['is missing', { state: 'missing' }, 2, 2],
  ['needs a newer version', { restorable: NEWER }, 2, 2],
])(
  'selects latest for verify and for restore when the newest backup %s',
  ([, more, verified, restored], { expect }) => {
    const backups = [backupOf(1, ['shop']), backupOf(2, ['shop']), backupOf(3, ['shop'], more)];
    expect(hourOf(selectBackup(backups, latest, 'verify', null))).toBe(verified);
    expect(hourOf(selectBackup(backups, latest, 'restore', null))).toBe(restored);
  },
);

test('reports the newest backup when it is skipped', () => {
  const bad = backupOf(2, ['shop'], { state: 'bad' });
  expect(selectBackup([backupOf(1, ['shop']), bad], latest, 'restore', null)).toMatchObject({ passedOver: bad });
  expect(selectBackup([backupOf(1, ['shop'])], latest, 'restore', null)).toMatchObject({ passedOver: null });
});

test('selects the newest recovery point at or before an instant', () => {
  const backups = [backupOf(1, ['shop']), backupOf(2, ['shop']), backupOf(3, ['shop'], { state: 'bad' })];
  const at = (hour: number) => ({ type: 'at', atMs: START_MS + hour * HOUR_MS }) as const;
  expect(hourOf(selectBackup(backups, at(2), 'restore', null))).toBe(2);
  expect(hourOf(selectBackup(backups, at(1.9), 'restore', null))).toBe(1);
  expect(hourOf(selectBackup(backups, at(9), 'restore', null))).toBe(2);
  expect(hourOf(selectBackup(backups, at(0.5), 'restore', null))).toBe('none');
});

test('selects the newest backup that contains the wanted database', () => {
  const backups = [backupOf(1, ['shop', 'crm']), backupOf(2, ['shop'])];
  expect(hourOf(selectBackup(backups, latest, 'restore', 'crm'))).toBe(1);
  expect(hourOf(selectBackup(backups, latest, 'restore', 'shop'))).toBe(2);
  expect(hourOf(selectBackup(backups, latest, 'restore', 'gone'))).toBe('none');
});

test('refuses to guess the database when the good backups contain several', () => {
  const backups = [backupOf(1, ['shop']), backupOf(2, ['crm'])];
  expect(selectBackup(backups, latest, 'restore', null)).toEqual({ type: 'several-contents', names: ['crm', 'shop'] });
  expect(hourOf(selectBackup(backups, latest, 'verify', null))).toBe(2);
  // The newest contains only the database that the target is named after.
  expect(hourOf(selectBackup([...backups, backupOf(3, ['shop'])], latest, 'restore', null))).toBe(3);
  // A backup that cannot be restored does not count.
  expect(
    hourOf(selectBackup([backupOf(1, ['a']), backupOf(2, ['b'], { state: 'bad' })], latest, 'restore', null)),
  ).toBe(1);
});

test('finds a backup in any state by the beginning or the end of its id', () => {
  const bad: BackupSummary['state'] = 'bad';
  const backups = [backupOf(1, ['shop']), backupOf(12, ['shop'], { state: bad })];
  const byId = (part: string) => selectBackup(backups, { type: 'id', part }, 'restore', null);
  expect(hourOf(byId('00000012'))).toBe(12);
  expect(hourOf(byId('000000000001'))).toBe(1);
  expect(byId('0000')).toEqual({ type: 'ambiguous', backupIds: backups.map(({ backupId }) => backupId) });
  expect(hourOf(byId('ffff'))).toBe('none');
});

test('fails with a code and a remedy when no backup fits or several do', () => {
  const backups = [backupOf(1, ['shop']), backupOf(2, ['crm'])];
  const query = { target: 'a/b/shop', wanted: latest, purpose: 'restore', content: null } as const;
  expect(() => requireBackup(backups, query)).toThrow(
    expect.objectContaining({
      code: 'BAD_INPUT',
      message: 'the backups of target a/b/shop hold 2 databases: crm, shop',
      remedy: 'Name one of them with --database.',
    }),
  );
  expect(() => requireBackup(backups, { ...query, wanted: { type: 'id', part: '0000' } })).toThrow(
    expect.objectContaining({ code: 'BAD_INPUT', message: 'several backups of target a/b/shop have this id' }),
  );
  const early = { ...query, wanted: { type: 'at', atMs: START_MS }, content: 'crm' } as const;
  expect(() => requireBackup(backups, early)).toThrow(
    expect.objectContaining({
      code: 'NOT_FOUND',
      message: 'target a/b/shop has no good backup of database "crm" at or before 2026-03-01T00:00:00.000Z',
    }),
  );
});

test('a restore of one database passes over backups of whole servers, and the other way round', () => {
  const backups = [backupOf(1, ['shop']), backupOf(2, ['shop', 'crm'], { restoreUnit: 'server' })];
  const chosen = (prefer: 'database' | 'server') => selectBackup(backups, { type: 'latest' }, 'restore', null, prefer);
  expect(chosen('database')).toMatchObject({ type: 'selected', backup: { sequence: 1 } });
  expect(chosen('server')).toMatchObject({ type: 'selected', backup: { sequence: 2 } });
});

test('backups of the other kind are taken where there are none of the preferred one', () => {
  const backups = [backupOf(1, ['shop'], { restoreUnit: 'server' })];
  const chosen = selectBackup(backups, { type: 'latest' }, 'restore', null, 'database');
  expect(chosen).toMatchObject({ type: 'selected', backup: { sequence: 1 } });
});
