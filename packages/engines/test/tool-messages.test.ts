import { describe, expect, test } from 'vitest';
import { errorCodeOf } from '../src/postgres/messages/server-failure.ts';
import { describeServerMessage } from '../src/postgres/messages/server-message.ts';
import { ToolMessages, type ToolReport } from '../src/postgres/messages/tool-messages.ts';

function reportOf(text: string, untranslated = true): ToolReport {
  const messages = new ToolMessages({ untranslated });
  for (const line of text.split('\n')) expect(messages.take(line)).toBeNull();
  return messages.report;
}
const described = (text: string, untranslated = true): string => {
  const { server } = reportOf(text, untranslated);
  return server === null ? 'nothing of the server' : describeServerMessage(server);
};
const COPY_FAILED = 'pg_restore: error: COPY failed for table "patients": ';
const QUERY_FAILED = 'pg_restore: error: could not execute query: ';

test.for([
  [
    `${COPY_FAILED}ERROR:  new row for relation "patients" violates check constraint "sane"`,
    'check violation: table "patients", constraint "sane" (SQLSTATE 23514)',
  ],
  [
    `${COPY_FAILED}ERROR:  invalid input syntax for type integer: "4711"\nCONTEXT:  COPY patients, line 7, column born: "4711"`,
    'invalid text representation: line 7 (SQLSTATE 22P02)',
  ],
  [`${QUERY_FAILED}ERROR:  role "a b" does not exist`, 'undefined object: role "a b" (SQLSTATE 42704)'],
  [
    'pg_dump: error: query failed: ERROR:  permission denied for table away',
    'insufficient privilege: table "away" (SQLSTATE 42501)',
  ],
  [
    'pg_dump: error: Dumping the contents of table "t" failed: PQgetResult() failed.\npg_dump: detail: Error message from server: ERROR:  cannot copy from view "t"',
    'wrong object type: relation "t" (SQLSTATE 42809)',
  ],
  [`${QUERY_FAILED}ERROR:  something that is not in the list`, 'the server reported an error'],
] as const)('reads a known message of the server: %s', ([text, expected]) => {
  expect(described(text)).toBe(expected);
});

test.for([
  ['DETAIL', `${COPY_FAILED}ERROR:  x\nDETAIL:  Key (ssn)=(078-05-1120) already exists.`],
  ['a statement', `${QUERY_FAILED}ERROR:  x\nCommand was: CREATE USER MAPPING FOR dba SERVER f OPTIONS (password 'x')`],
  ['a message in another language', `${COPY_FAILED}FEHLER:  ungültige Eingabesyntax für Typ integer: »078-05-1120«`],
  ['a warning', 'pg_dump: warning: 078-05-1120'],
  ['a line without a prefix', '078-05-1120'],
] as const)('shows nothing of %s', ([, text]) => {
  for (const untranslated of [true, false]) expect(JSON.stringify(reportOf(text, untranslated))).not.toMatch(/078|dba/);
});

test('reads no name from a message that a function raised, however it is written', () => {
  const forged = 'ERROR:  relation "SECRET" does not exist';
  for (const text of [
    `${COPY_FAILED}${forged}\nCONTEXT:  PL/pgSQL function ok(text) line 1 at RAISE\nCOPY patients, line 1: "x"`,
    `${COPY_FAILED}ERROR:  x\n${QUERY_FAILED}${forged}\nCONTEXT:  PL/pgSQL function ok(text) line 1 at RAISE`,
    `pg_restore: WARNING:  x\n${QUERY_FAILED}${forged}\n${COPY_FAILED}ERROR:  y\nCONTEXT:  PL/Python function "ok"`,
    `${COPY_FAILED}${forged}\nCONTEXT:  COPY t, line 1\nCONTEXT:  SQL function "ok" statement 1`,
  ])
    expect(described(text)).toBe('a function of the database reported an error');
});

test('reads a message in another language by nothing but the lines of the tool itself', () => {
  const text = [
    'pg_restore: while PROCESSING TOC:',
    'pg_restore: from TOC entry 3449; 0 16496 TABLE DATA sec lg_super',
    `${COPY_FAILED}FEHLER:  Relation »sec« existiert nicht`,
  ].join('\n');
  expect(reportOf(text, false)).toMatchObject({ entryId: 3449, server: { sqlstate: null, objects: [] }, lost: false });
  const lock =
    'pg_dump: error: query failed: FEHLER:  x\npg_dump: detail: Query was: LOCK TABLE public."a b" IN ACCESS SHARE MODE';
  expect(reportOf(lock, false)).toMatchObject({ relation: 'public."a b"' });
});

test.for([
  'pg_dump: error: connection to server at "127.0.0.1", port 5432 failed: Connection refused',
  `${QUERY_FAILED}server closed the connection unexpectedly`,
  'pg_dump: error: query failed: no connection to the server',
])('recognizes a connection that is lost: %s', (text) => {
  for (const untranslated of [true, false]) expect(reportOf(text, untranslated).lost).toBe(true);
});

test('reports the SQLSTATE of a connection that the server refused', () => {
  const text = 'pg_dump: error: connection to server at "h", port 5432 failed: FATAL:  database "nodb" does not exist';
  expect(described(text)).toBe('database does not exist: database "nodb" (SQLSTATE 3D000)');
});

test('recognizes an archive that cannot be read', () => {
  for (const text of [
    'pg_restore: error: could not read from input file: end of file',
    'pg_restore: error: input file does not appear to be a valid archive',
    'pg_restore: error: could not uncompress data: incorrect data check',
  ])
    expect(reportOf(text)).toMatchObject({ damaged: true, server: null, lost: false });
});

test('keeps known warnings and counts all other lines', () => {
  const text = [
    'WARNING:  database "shop" has a collation version mismatch',
    'DETAIL:  x',
    'pg_dump: warning: there are circular foreign-key constraints among these tables:',
    'pg_dump: detail: one',
    'pg_dump: detail: two',
    'pg_dump: hint: x',
    'pg_dump: warning: subscriptions not dumped because current user is not a superuser',
    'pg_dump: warning: unheard of',
    'pg_restore: creating TABLE "public.t"',
    'pg_restore: WARNING:  raised',
  ].join('\n');
  expect(reportOf(text)).toMatchObject({
    warnings: [
      { type: 'collationVersion', database: 'shop' },
      { type: 'circularForeignKeys', table: 'one' },
      { type: 'circularForeignKeys', table: 'two' },
      { type: 'subscriptionsLeftOut' },
    ],
    otherWarnings: 3,
  });
});

describe('codes of SQLSTATEs', () => {
  test.for([
    ['28P01', 'DATABASE_REFUSED'],
    ['42501', 'DATABASE_REFUSED'],
    ['3D000', 'DATABASE_REFUSED'],
    ['08006', 'DATABASE_UNREACHABLE'],
    ['57P03', 'DATABASE_UNREACHABLE'],
    ['42P01', 'SOURCE_CHANGED'],
    ['53100', 'NO_SPACE'],
    ['55P03', 'TARGET_BUSY'],
    ['55006', 'TARGET_BUSY'],
    ['22P02', 'DATABASE_ERROR'],
    [null, 'DATABASE_ERROR'],
  ] as const)('%s is %s', ([sqlstate, code]) => {
    expect(errorCodeOf(sqlstate)).toBe(code);
  });
});
