import { uuidv7 } from '@lastgood/host';
import type { Finding } from '@lastgood/protocol';
import type { DatabaseRestore } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { lacking, ref } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

const { server, harness } = await usePostgres();

async function make(database: string, ...statements: string[]): Promise<string> {
  await server.query('postgres', `create database ${database}`);
  for (const sql of statements) await server.query(database, sql);
  return (await harness.backup({ databases: [database] })).backupId;
}
async function restore(backupId: string, mode: DatabaseRestore): Promise<Finding[]> {
  const source = await harness.repository.open(ref, backupId);
  const { hash } = await harness.plan(mode, source, await harness.context());
  const request = { restore: mode, jobId: uuidv7(), planHash: hash };
  return (await harness.carryOut(request, source, await harness.context())).warnings;
}
/** Verifies to level 6; returns what was logged besides the verdict. */
async function verifyAndLog(backupId: string): Promise<string[]> {
  const said: string[] = [];
  const context = { ...(await harness.context()), log: (message: string) => void said.push(message) };
  expect(await harness.verify(6, backupId, context)).toMatchObject({ reached: 6, findings: [] });
  return said;
}
const TABLE = 'create table t (a int); insert into t values (1), (2)';

test('an event trigger that keeps a log of DDL logs nothing of a restore test or restore', async () => {
  const audit = `create table ddl_log (tag text); create function note() returns event_trigger language plpgsql as
    'begin insert into public.ddl_log values (tg_tag); end'; create event trigger note on ddl_command_end execute function note()`;
  const backupId = await make('audited', TABLE, 'create materialized view v as select a from t', audit);
  expect(await verifyAndLog(backupId)).toEqual([]);
  expect(await restore(backupId, { way: 'new', database: 'audited', as: 'audited_copy' })).toEqual([]);
  expect(await restore(backupId, { way: 'in-place', database: 'audited' })).toEqual([]);
  for (const database of ['audited', 'audited_copy']) {
    expect(await server.query(database, 'select a from v order by 1')).toEqual([{ a: 1 }, { a: 2 }]);
    expect(await server.query(database, 'select tag from ddl_log')).toEqual([]);
    await server.query(database, 'create table later ()');
    expect(await server.query(database, 'select tag from ddl_log')).toEqual([{ tag: 'CREATE TABLE' }]);
  }
});

test('an event trigger that forbids DDL prevents neither a restore test nor a restore, and forbids DDL afterwards as before', async () => {
  const forbid = `create function forbid() returns event_trigger language plpgsql as 'begin raise exception ''no ddl here''; end';
    create event trigger forbid on ddl_command_start execute function forbid(); alter event trigger forbid enable always`;
  const backupId = await make('frozen', TABLE, 'create materialized view v as select a from t', forbid);
  expect(await verifyAndLog(backupId)).toEqual([]);
  expect(await restore(backupId, { way: 'new', database: 'frozen', as: 'frozen_copy' })).toEqual([]);
  expect(await server.query('frozen_copy', 'select count(*)::int as n from v')).toEqual([{ n: 2 }]);
  expect(await server.query('frozen_copy', 'select evtenabled as e from pg_event_trigger')).toEqual([{ e: 'A' }]);
  await expect(server.query('frozen_copy', 'create table later ()')).rejects.toThrow('no ddl here');
});

test('a view over functions that rely on the search_path is filled, after the view that needs it too', async ({
  skip,
}) => {
  skip(...(await lacking(server, 'views that keep to a search_path')));
  const backupId = await make(
    'pathed',
    'create schema app; alter database pathed set search_path = app, public',
    'create table app.t (a int); insert into app.t values (1), (2)',
    "create function app.total() returns bigint language sql stable as 'select count(*) from t'",
    'create materialized view app.later as select app.total() as n',
    "create function app.again() returns bigint language sql stable as 'select n from later'",
    'create materialized view app.early as select app.again() as n',
    'create materialized view app.never as select 1 as a with no data',
  );
  expect(await verifyAndLog(backupId)).toEqual([]);
  expect(await restore(backupId, { way: 'swap', database: 'pathed' })).toEqual([]);
  expect(await server.query('pathed', 'select (select n from early)::int, (select n from later)::int as m')).toEqual([
    { n: 2, m: 2 },
  ]);
  await expect(server.query('pathed', 'select from never')).rejects.toThrow('has not been populated');
});

test('a view that cannot be filled is a warning of the restore and no verdict on the backup', async () => {
  await make(
    'broken_view',
    TABLE,
    "create function risky() returns int language sql as 'select 1'",
    'create materialized view v as select risky() as a',
    'create materialized view sound as select a from t',
  );
  await server.query('broken_view', "create or replace function risky() returns int language sql as 'select 1/0'");
  const { backupId } = await harness.backup({ databases: ['broken_view'] });
  const reason = expect.stringContaining('division by zero');
  const warning = { code: 'VIEW_NOT_REFRESHED', subject: { name: 'public.v' }, params: { reason } };
  expect(await verifyAndLog(backupId)).toEqual([
    expect.stringMatching(/materialized view "public\.v".*division by zero/),
  ]);
  for (const mode of [
    { way: 'new', database: 'broken_view', as: 'broken_copy' },
    { way: 'in-place', database: 'broken_view' },
  ] as const) {
    expect(await restore(backupId, mode)).toMatchObject([warning]);
    expect(
      await server.query(mode.way === 'new' ? mode.as : mode.database, 'select count(*)::int as n from sound'),
    ).toEqual([{ n: 2 }]);
  }
});

test("a view of a superuser is not filled under the search_path of a database's owner who is none", async ({
  skip,
}) => {
  skip(...(await lacking(server, 'views that keep to a search_path')));
  await server.query('postgres', "create role sly login password 's'");
  await server.query('postgres', 'create database bait owner sly');
  await server.query('bait', "create function pick() returns text language sql as 'select 1::text'");
  await server.query('bait', "create function public.through() returns text language sql as 'select pick()'");
  await server.query('bait', 'create materialized view v as select public.through() as a');
  await server.queryAs(
    'sly',
    's',
    'bait',
    "create schema evil; create function evil.pick() returns text language plpgsql as 'begin return current_user; end'; alter database bait set search_path = evil, public",
  );
  const { backupId } = await harness.backup({ databases: ['bait'] });
  expect(await restore(backupId, { way: 'new', database: 'bait', as: 'bait_copy' })).toMatchObject([
    { code: 'UNTRUSTED_CODE', params: { owners: ['sly'] } },
    { code: 'VIEW_NOT_REFRESHED', subject: { name: 'public.v' } },
  ]);
  await expect(server.query('bait_copy', 'select from v')).rejects.toThrow('has not been populated');
});
