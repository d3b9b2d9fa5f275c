import {
  FINDING_CATALOG,
  type Finding,
  findingKey,
  findingOfError,
  findingSchema,
  formatFinding,
  formatReason,
  makeFinding,
  makeReason,
  makeRefusal,
  refusalSchema,
  remedyOfFinding,
  wireErrorOf,
} from '@lastgood/protocol';
import { expect, test } from 'vitest';

const shop = { kind: 'database', name: 'shop' } as const;

test('formats a finding by its template, with its subject and values', () => {
  const finding = makeFinding(
    'TABLE_ROWS_DIFFER',
    { kind: 'table', name: 'public.orders' },
    {
      database: 'shop',
      rows: '3',
      expected: '4',
    },
  );
  expect(formatFinding(finding)).toBe('table "public.orders" of database "shop" has 3 rows, the source had 4');
  expect(findingSchema.parse(JSON.parse(JSON.stringify(finding)))).toEqual(finding);
});

test('lists ten names and counts the others', () => {
  const roles = Array.from({ length: 12 }, (_, n) => `r${n}`);
  expect(formatFinding(makeFinding('ROLES_WILL_BE_CREATED', null, { roles }))).toMatch(
    /^roles r0, .*, r9 and 2 more are/,
  );
});

test('writes bytes in decimal units', () => {
  const full = makeRefusal('SERVER_SPACE_LOW', null, { needed: 12_345_678, free: 999 });
  expect(formatFinding(full)).toBe('the restore needs 12.3 MB, the disk of the server has 999 bytes');
  expect(full.error).toBe('NO_SPACE');
  expect(refusalSchema.parse(full)).toEqual(full);
});

test('a failure that a check met is a finding with its message and its own remedy', () => {
  const error = { ...wireErrorOf('DATABASE_REFUSED', 'permission denied'), remedy: 'Grant it.' };
  const finding = findingOfError(error, shop);
  expect([formatFinding(finding), remedyOfFinding(finding), finding.severity]).toEqual([
    'DATABASE_REFUSED: permission denied',
    'Grant it.',
    'error',
  ]);
});

test('a finding of a newer version keeps its code and its values, and has no remedy here', () => {
  const newer: Finding = { code: 'OF_TOMORROW', severity: 'warning', subject: shop, params: { count: 3 } };
  expect(findingSchema.parse(newer)).toEqual(newer);
  expect([formatFinding(newer), remedyOfFinding(newer)]).toEqual(['OF_TOMORROW database "shop": {"count":3}', null]);
});

test('a value that is missing does not break a message', () => {
  const finding: Finding = { code: 'SESSIONS_WILL_END', severity: 'warning', subject: shop, params: {} };
  expect(formatFinding(finding)).toBe('database "shop" has ? open sessions, which will be ended');
});

test('a text is never taken for a template', () => {
  const finding = makeFinding('SETTING_LEFT_OUT', { kind: 'setting', name: '{reason}' }, { reason: '{subject} $&' });
  expect(formatFinding(finding)).toBe('setting "{reason}" was left out: {subject} $&');
});

test('two findings are the same when code, subject and values are', () => {
  const of = (sessions: number): string => findingKey(makeFinding('SESSIONS_WILL_END', shop, { sessions }));
  expect(of(1)).toBe(of(1));
  expect(of(1)).not.toBe(of(2));
});

test('every message of the catalog reads as the middle of a sentence, every remedy as one', () => {
  for (const [code, { message, remedy }] of Object.entries(FINDING_CATALOG)) {
    expect(message, code).toMatch(/^(?:\{|[a-z]|PostgreSQL|WAL)/);
    expect(message, code).not.toMatch(/\.$/);
    if (remedy !== null) expect(remedy, code).toMatch(/^[A-Z].*[.)\w]$/s);
  }
});

test('a reason of a rotation names the database whose group keeps the backup', () => {
  expect(formatReason(makeReason('KEEP_LAST', { count: 7 }))).toBe('one of the last 7');
  expect(formatReason({ code: 'KEEP_LAST_GOOD', params: { database: 'shop' } })).toBe('the last good backup of "shop"');
  expect(formatReason({ code: 'OF_TOMORROW', params: {} })).toBe('OF_TOMORROW');
});
