import { createServer } from 'node:net';
import { Failure } from '@lastgood/core';
import { beforeAll, expect, test } from 'vitest';
import { postgresConnectionSchema } from '../src/postgres/connection-schema.ts';
import { Session } from '../src/postgres/session.ts';
import { usePostgres } from './support/use-postgres.ts';

const never = new AbortController().signal;
const { server, harness, cleanup } = await usePostgres();

beforeAll(async () => {
  await server.query('postgres', "create role mallory login password 'x'");
}, 120_000);

/** Functions, operators and catalogs that stand in for those of PostgreSQL, and end whatever runs them. */
const IMPOSTORS = `
  create table t (a int, b text); insert into t select i, i::text from generate_series(1, 10) i;
  create schema evil; grant usage on schema evil to public;
  create function evil.caught(what text) returns boolean language plpgsql as $$ begin raise exception 'caught by %', what; end $$;
  create function evil.set_config(text, text, boolean) returns text language sql as $$ select evil.caught('set_config')::text $$;
  create function evil.concat_ws(text, name, name, oid, text) returns text language sql as $$ select evil.caught('concat_ws')::text $$;
  create function evil.current_setting(text) returns text language sql as $$ select evil.caught('current_setting')::text $$;
  create function evil.same(name, name) returns boolean language sql as $$ select evil.caught('=') $$;
  create function evil.same(name, text) returns boolean language sql as $$ select evil.caught('=') $$;
  create operator evil.= (leftarg = name, rightarg = name, function = evil.same);
  create operator evil.= (leftarg = name, rightarg = text, function = evil.same);
  create view evil.pg_settings as select name, setting from pg_catalog.pg_settings where evil.caught('pg_settings');
  create view evil.pg_database as select * from pg_catalog.pg_database where evil.caught('pg_database');
  create view evil.pg_class as select * from pg_catalog.pg_class where evil.caught('pg_class');
  grant select on all tables in schema evil to public`;

test("A11: what a database's owner puts before PostgreSQL's own functions, operators and catalogs is never run by a backup, restore test or restore", async () => {
  await server.query('postgres', 'create database hostile owner mallory');
  await server.queryAs('mallory', 'x', 'hostile', IMPOSTORS);
  for (const whose of ['database hostile', 'role lg_super in database hostile'])
    await server.query('postgres', `alter ${whose} set search_path = evil, pg_catalog, public`);
  for (const trapped of ["set_config('work_mem', '4MB', false)", 'count(*) from pg_database', "'a'::name = 'b'::name"])
    await expect(server.query('hostile', `select ${trapped}`)).rejects.toThrow('caught by');

  const { backupId } = await harness.backup({ databases: ['hostile'] });
  expect(await harness.verify(6, backupId)).toMatchObject({ reached: 6, findings: [] });
  await harness.restore(backupId, { way: 'new', database: 'hostile', as: 'hostile copy' });
  await harness.restore(backupId, { way: 'in-place', database: 'hostile' });
  expect(await server.query('hostile copy', 'select max(a) as most from t')).toEqual([{ most: 10 }]);
});

test('A11: settings of the role and of the database change nothing that is read, nor hinder a restore', async () => {
  await server.query('postgres', 'create database moody');
  await server.query('postgres', 'create role lowly');
  await server.query(
    'moody',
    "create table t (a regclass, b bytea, c timestamptz, d float8); insert into t values ('pg_class', '\\x00ff', '2026-01-01 00:00+00', 0.1 + 0.2)",
  );
  const plain = await harness.backup({ databases: ['moody'] });
  for (const setting of [
    "role = 'lowly'",
    'default_transaction_read_only = on',
    "default_transaction_isolation = 'serializable'",
    'quote_all_identifiers = on',
    "bytea_output = 'escape'",
    'extra_float_digits = -10',
    "timezone = 'Asia/Tokyo'",
    "datestyle = 'German, DMY'",
    'standard_conforming_strings = off',
    'session_replication_role = replica',
    'statement_timeout = 1',
    'lock_timeout = 1',
    "client_encoding = 'LATIN1'",
  ])
    await server.query('postgres', `alter database moody set ${setting}`);
  const moody = await harness.backup({ databases: ['moody'] });
  expect(await harness.verify(6, plain.backupId)).toMatchObject({ reached: 6, findings: [] });
  expect(await harness.verify(6, moody.backupId)).toMatchObject({ reached: 6, findings: [] });
  await harness.restore(moody.backupId, { way: 'in-place', database: 'moody' });
  await harness.restore(moody.backupId, { way: 'swap', database: 'moody' });
  const again = await harness.backup({ databases: ['moody'] });
  expect(await harness.verify(6, again.backupId)).toMatchObject({ reached: 6, findings: [] });
});

test('A24: a server that is set to read damaged pages as empty ones is not backed up', async () => {
  await server.query('postgres', 'create database rescued');
  for (const setting of ['zero_damaged_pages', 'ignore_checksum_failure']) {
    await server.query('postgres', `alter database rescued set ${setting} = on`);
    await expect(harness.backup({ databases: ['rescued'] })).rejects.toMatchObject({
      code: 'DATABASE_REFUSED',
      message: expect.stringContaining(setting),
    });
    await server.query('postgres', `alter database rescued reset ${setting}`);
  }
  await harness.backup({ databases: ['rescued'] });
});

/** What a pooler answers to a startup packet. */
async function startPooler(): Promise<number> {
  const answer = Buffer.from('SFATAL\0C08P01\0Munsupported startup parameter: options\0\0');
  const head = Buffer.alloc(5);
  head.write('E');
  head.writeInt32BE(answer.length + 4, 1);
  const pooler = createServer((socket) => {
    socket
      .on('error', () => undefined)
      .on('data', (packet) => {
        if (packet.length === 8) socket.write('N');
        else socket.end(Buffer.concat([head, answer]));
      });
  });
  await new Promise<void>((resolve) => pooler.listen(0, '127.0.0.1', resolve));
  cleanup.defer(() => new Promise<void>((resolve) => pooler.close(() => resolve())));
  const address = pooler.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

test('a pooler that takes no settings at the start of a session is refused with what to do', async () => {
  const connection = postgresConnectionSchema.parse({ ...server.connection, port: await startPooler() });
  const refused = await Session.open(connection, 'postgres', never).catch((error: unknown) => error);
  expect(refused).toMatchObject({
    code: 'DATABASE_REFUSED',
    message: expect.stringContaining('settings of the session'),
  });
  expect(refused instanceof Failure && refused.remedy).toContain('pooler');
});
