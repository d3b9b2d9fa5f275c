import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryFolder } from '@lastgood/testkit';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { postgresConnectionSchema } from '../src/postgres/connection-schema.ts';
import { STABLE_SETTINGS, sequencesOf, takeFingerprint } from '../src/postgres/fingerprint.ts';
import { Session } from '../src/postgres/session.ts';
import { codeOf } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

/** Objects that their owner, not a superuser, exchanges while a backup reads them: none of the owner's code runs with our rights. */
const never = new AbortController().signal;
const PASSWORD = 'of-mallory';
const { server, harness, cleanup } = await usePostgres();
let marker: string;
let databases = 0;

beforeAll(async () => {
  const { path } = cleanup.use(await temporaryFolder());
  await chmod(path, 0o777);
  marker = join(path, 'marker');
  await server.query('postgres', `create role mallory login password '${PASSWORD}'`);
}, 120_000);
beforeEach(async () => {
  await writeFile(marker, '');
  await chmod(marker, 0o666);
});

/** A database of his with a function that, run by a superuser, runs a program as the user of the server, even where all is read only. */
async function ofMallory(): Promise<string> {
  databases += 1;
  const name = `replaced_${databases}`;
  await server.query('postgres', `create database ${name} owner mallory`);
  await server.queryAs(
    'mallory',
    PASSWORD,
    name,
    `create schema s; create sequence s.q; create table s.a (a int); insert into s.a values (1);
     create table s.big as select g, repeat(md5(g::text), 20) m from generate_series(1, 50000) g;
     create function s.evil() returns int language plpgsql as
       $f$ begin execute $c$copy (select 1) to program 'id -un >> ${marker}'$c$; return 1; exception when others then return 2; end $f$`,
  );
  return name;
}
const SEQUENCE_BY_VIEW = 'drop sequence s.q; create view s.q as select s.evil() as last_value, true as is_called';
const TABLE_BY_VIEW = 'drop table s.a; create view s.a as select s.evil() as a';
const byMallory = (database: string, sql: string): Promise<unknown> =>
  server.queryAs('mallory', PASSWORD, database, sql);

test('A13: a sequence that becomes a view during the backup ends it as changed, and the view is not run', async () => {
  const database = await ofMallory();
  let swapped: Promise<unknown> | undefined;
  const progress = ({ phase }: { phase: string }): void => {
    if (phase === 'dump') swapped ??= byMallory(database, SEQUENCE_BY_VIEW);
  };
  expect(await codeOf(harness.backup({ databases: [database], progress }))).toBe('SOURCE_CHANGED');
  await swapped;
  expect(await readFile(marker, 'utf8')).toBe('');
});

test('A13: a sequence that becomes another sequence during the backup ends it as changed', async () => {
  const database = await ofMallory();
  let swapped: Promise<unknown> | undefined;
  const progress = ({ phase }: { phase: string }): void => {
    if (phase === 'dump') swapped ??= byMallory(database, 'drop sequence s.q; create sequence s.q');
  };
  expect(await codeOf(harness.backup({ databases: [database], progress }))).toBe('SOURCE_CHANGED');
  await swapped;
});

/** What was found in the snapshot of a session in which `settings` hold, after what it names was replaced. */
async function afterReplacing(settings: string, sql: string, read: (session: Session) => Promise<unknown>) {
  const database = await ofMallory();
  await using session = await Session.open(postgresConnectionSchema.parse(server.connection), database, never);
  await session.run(`begin isolation level repeatable read read only; ${settings}`);
  await session.run('select count(*) from pg_class');
  await byMallory(database, sql);
  return await codeOf(read(session));
}
const SETTINGS = [
  { server: 'that refuses views', settings: STABLE_SETTINGS },
  { server: 'of before August 2024', settings: 'set local row_security = off' },
];

test.for(SETTINGS)('a server $server runs nothing of a view in the place of a sequence', async ({ settings }) => {
  expect(await afterReplacing(settings, SEQUENCE_BY_VIEW, sequencesOf)).toBe('SOURCE_CHANGED');
  expect(await readFile(marker, 'utf8')).toBe('');
});

test.for(SETTINGS)('a server $server runs nothing of a view in the place of a table', async ({ settings }) => {
  const counted = (session: Session) => takeFingerprint(session, true, () => undefined);
  expect(await afterReplacing(settings, TABLE_BY_VIEW, counted)).toBe('SOURCE_CHANGED');
  expect(await readFile(marker, 'utf8')).toBe('');
});

test.for([
  'create index on s.a (s.constant(1))',
  'create index on s.a (a) where s.constant(1) > 0',
  'create index on s.a (s.inlined(a))',
  'create statistics s.st on (a + s.constant(1)), (a + 2) from s.a',
])('a function of his that planning a query would run is not run by a backup: %s', async (made) => {
  const database = await ofMallory();
  await byMallory(
    database,
    `create function s.constant(int) returns int language plpgsql immutable as $f$ begin perform s.evil(); return 1; end $f$;
     create function s.inlined(int) returns int language sql immutable as 'select $1 + s.constant(1)';
     ${made}`,
  );
  const { backupId } = await harness.backup({ databases: [database] });
  expect(await readFile(marker, 'utf8')).toBe('');
  expect(await harness.verify(6, backupId)).toMatchObject({ reached: 6, findings: [] });
});
