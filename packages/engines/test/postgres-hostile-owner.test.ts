import { beforeAll, expect, test } from 'vitest';
import { type Properties, settingsOf } from '../src/postgres/properties.ts';
import { usePostgres } from './support/use-postgres.ts';

/** What the owner of one database, not a superuser, can do to a backup, a restore test or a restore: only lose their own data. */
const { server, harness } = await usePostgres();
const PASSWORD = 'of-mallory';

beforeAll(async () => {
  await server.query('postgres', `create role mallory login password '${PASSWORD}'`);
}, 120_000);

/** Makes a database of his, and runs in it what he wants. */
async function owned(name: string, sql: string): Promise<void> {
  await server.query('postgres', `create database ${name} owner mallory`);
  await server.queryAs('mallory', PASSWORD, name, 'create table t (a int); insert into t values (1)');
  await server.queryAs('mallory', PASSWORD, name, sql);
}
async function isSuperuser(): Promise<unknown> {
  const [row] = await server.query('postgres', "select rolsuper from pg_roles where rolname = 'mallory'");
  return row?.['rolsuper'];
}
const EVIL = "begin execute 'alter role mallory superuser'; exception when others then null; end;";

test('functions of his that stand before ours in the search path of his database are never run by us', async () => {
  const takesPlace = (signature: string, returns: string, result: string): string =>
    `create function evil.${signature} returns ${returns} language plpgsql as $f$ begin ${EVIL} return ${result}; end $f$;`;
  await owned(
    'h1',
    `create schema evil;
     ${takesPlace('set_config(a text, b text, c boolean)', 'text', 'pg_catalog.set_config(a, b, c)')}
     ${takesPlace('current_setting(a text)', 'text', 'pg_catalog.current_setting(a)')}
     ${takesPlace('md5(a text)', 'text', 'pg_catalog.md5(a)')}
     ${takesPlace('concat_ws(a text, variadic b text[])', 'text', 'pg_catalog.concat_ws(a, variadic b)')}
     ${takesPlace('pg_export_snapshot()', 'text', 'pg_catalog.pg_export_snapshot()')}
     create view evil.pg_settings as select * from pg_catalog.pg_settings;
     alter database h1 set search_path = evil, pg_catalog`,
  );
  const { backupId } = await harness.backup({ databases: ['h1'] });
  expect(await harness.verify(6, backupId)).toMatchObject({ reached: 6, findings: [] });
  await harness.restore(backupId, { way: 'swap', database: 'h1' });
  expect(await isSuperuser()).toBe(false);
});

test('what he stored as a list of schemas is never run as a statement', async () => {
  await owned(
    'i1',
    `select set_config('search_path', 'public;alter/**/role/**/mallory/**/superuser', false); alter database i1 set search_path from current`,
  );
  const { backupId } = await harness.backup({ databases: ['i1'] });
  expect(await harness.verify(4, backupId)).toMatchObject({ reached: 4, findings: [] });
  await harness.restore(backupId, { way: 'new', database: 'i1', as: 'i1_copy' });
  expect(await isSuperuser()).toBe(false);
});

test.for([
  [`''`, '""'],
  [`"$user", public`, '"$user", public'],
  [`'it''s', "a, b", "say ""hi"""`, `"it's", "a, b", "say ""hi"""`],
])('a search path of %s comes back as it was', async ([set, stored]) => {
  for (const name of ['paths', 'paths_copy']) await server.query('postgres', `drop database if exists ${name}`);
  await server.query('postgres', 'create database paths');
  await server.query('paths', `create table t (a int); alter database paths set search_path = ${set}`);
  const { backupId } = await harness.backup({ databases: ['paths'] });
  expect(await harness.verify(4, backupId)).toMatchObject({ reached: 4, findings: [] });
  await harness.restore(backupId, { way: 'new', database: 'paths', as: 'paths_copy' });
  const asked =
    'select d.datname, s.setconfig from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase where d.datname ~ $1';
  const [before, after] = await server.query('postgres', `${asked} order by 1`, ['^paths']);
  expect(before?.['setconfig']).toEqual([`search_path=${stored}`]);
  expect(after?.['setconfig']).toEqual(before?.['setconfig']);
});

test('a list that is none is one word, whatever is in it', () => {
  const properties = { settings: [{ role: null, setting: `search_path=a" b, 'c` }] } as unknown as Properties;
  const statements = [...settingsOf(properties, 'd', new Set()).values()];
  expect(statements).toEqual([`alter database "d" set "search_path" to 'a" b, ''c'`]);
});
