import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { type PostgresServer, startPostgres } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { redactToolLine, withoutValues } from '../src/postgres/redact-messages.ts';
import { EngineHarness } from './support/engine-harness.ts';

const cleanup = new AsyncDisposableStack();
let server: PostgresServer;
let bench: EngineHarness;
let there: EngineHarness;

beforeAll(async () => {
  server = cleanup.use(await startPostgres());
  bench = cleanup.use(await EngineHarness.open(server));
  await server.query('postgres', "create role dba login createdb password 'y'");
  const passfile = join(bench.folder, 'dba.pgpass');
  await writeFile(passfile, '*:*:*:dba:y\n', { mode: 0o600 });
  there = cleanup.use(await EngineHarness.open(server, { user: 'dba', passfile }, join(bench.folder, 'repository')));
}, 120_000);
afterAll(() => cleanup.disposeAsync());

/** Everything that a failure says, and what it is caused by. */
async function allSaid(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof Failure)) throw error ?? new Error('nothing was refused');
  return `${error.message} ${error.remedy} ${JSON.stringify(error)} ${String(error.cause ?? '')}`;
}
async function failedRestore(database: string, sql: string, by = bench): Promise<string> {
  await server.query('postgres', `create database ${database} owner dba`);
  await server.query(database, sql);
  const { backupId } = await bench.backup({ databases: [database] });
  const said = await allSaid(by.restore(backupId, { type: 'new', database, as: `${database}_copy` }));
  if (by === bench) {
    const { findings } = await bench.verify(4, backupId);
    expect(findings).toHaveLength(1);
    return `${said} ${JSON.stringify(findings)}`;
  }
  return said;
}

test('I8: the password of a subscription is in no message of a restore that may not make it; what it would make is', async () => {
  const said = await failedRestore(
    'subs',
    "create subscription s connection 'host=10.0.0.1 dbname=x user=repl password=HUNTER2' publication p with (connect = false, slot_name = none)",
    there,
  );
  expect(said).toContain('Command was: CREATE SUBSCRIPTION s');
  expect(said).not.toMatch(/HUNTER2|10\.0\.0\.1|repl/);
});

test('I8: a row that breaks a constraint is in no message of a restore or a proof; table, constraint and line are', async () => {
  const said = await failedRestore(
    'wards',
    `create function ok(t text) returns bool language sql as $$ select current_setting('lastgood.here', true) is not null $$;
     set lastgood.here = 'yes'; create table patients (name text, diagnosis text, check (ok(name)));
     insert into patients values ('Ada Smith', 'secret illness')`,
  );
  expect(said).toContain('new row for relation "patients" violates check constraint "patients_name_check"');
  expect(said).toContain('COPY patients, line 1');
  expect(said).not.toMatch(/Ada|Smith|secret|illness/);
});

test('I8: what a function raises, and the value that a type refuses, are in no message of a restore or a proof', async () => {
  const raising = await failedRestore(
    'raising',
    `create function ok(t text) returns bool language plpgsql as $$ begin if current_setting('lastgood.here', true) is null then raise exception 'no "cure" for %', t using hint = t, detail = t; end if; return true; end $$;
     set lastgood.here = 'yes'; create table patients (name text check (ok(name))); insert into patients values ('Ada Smith')`,
  );
  expect(raising).toContain('a function of the database raised an exception');
  expect(raising).toContain('COPY failed for table');
  expect(raising).not.toMatch(/Ada|Smith|cure/);
  const typed = await failedRestore(
    'typed',
    `create function ok(t text) returns bool language plpgsql as $$ begin if current_setting('lastgood.here', true) is null then return t::int > 0; end if; return true; end $$;
     set lastgood.here = 'yes'; create table patients (name text check (ok(name))); insert into patients values ('Ada "Smith" Jones')`,
  );
  expect(typed).toContain('invalid input syntax for type integer: \\"…\\"');
  expect(typed).not.toMatch(/Ada|Smith|Jones/);
});

test('I8: of lines of tools the values go and the names of objects stay', () => {
  expect(redactToolLine("LINE 1: ALTER ROLE a WITH PASSWORD 'SCRAM-SHA-256$4096'")).toBe(null);
  expect(redactToolLine('DETAIL:  Key (ssn)=(078-05-1120) already exists.')).toBe(null);
  expect(redactToolLine('	ALTER ROLE a')).toBe(null);
  expect(redactToolLine("Command was: CREATE USER MAPPING FOR dba SERVER f OPTIONS (password 'x'")).toBe(
    'Command was: CREATE USER MAPPING FOR dba',
  );
  expect(redactToolLine('CONTEXT:  COPY t, line 7, column born: "1970-13-01"')).toBe(
    'CONTEXT:  COPY t, line 7, column born',
  );
  expect(withoutValues('syntax error at or near "HUNTER2"')).toBe('syntax error at or near "…"');
  expect(withoutValues('value "99999999999" is out of range for type integer')).toBe(
    'value "…" is out of range for type integer',
  );
  for (const said of [
    'duplicate key value violates unique constraint "t_pkey"',
    'could not open extension control file "/usr/share/x.control": No such file or directory',
    'invalid locale name: "xx_YY.UTF-8"',
    'no pg_hba.conf entry for host "10.0.0.1", user "a", database "b", no encryption',
  ])
    expect(withoutValues(said)).toBe(said);
});
