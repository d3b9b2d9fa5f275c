import { uuidv7 } from '@lastgood/host';
import { formatFinding } from '@lastgood/protocol';
import { startPostgres } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { createDatabase, differingProperties, elementsOf, type Properties } from '../src/postgres/properties.ts';
import { EngineHarness, lacking, ref } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

const { server, harness } = await usePostgres();

const settingsOf = async (database: string): Promise<unknown[]> =>
  await server.query(
    'postgres',
    'select r.rolname as role, unnest(setconfig) as setting from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase left join pg_roles r on r.oid = s.setrole where datname = $1 order by 1, 2',
    [database],
  );

test.for([
  ['', []],
  ['""', ['']],
  ['"$user", public', ['$user', 'public']],
  ['a,b , "C d"', ['a', 'b', 'C d']],
  ['"a,b", "c""d", "e\'f"', ['a,b', 'c"d', "e'f"]],
  ['Public', ['public']],
  ['a;drop', ['a;drop']],
  ['a b', null],
  ['a,', null],
  ['"a', null],
] as const)('the list %j has the elements %j', ([list, elements], { expect }) => {
  expect(elementsOf(list, true)).toEqual(elements);
});

test('settings of a database come back as they were, whatever names, quotes and commas they hold', async () => {
  await server.query('postgres', 'create role "the, ""role"""');
  const paths = [
    `"$user", public`,
    `''`,
    `'a''b', "with ""quotes""", 'com,ma', 'semi; colon', 'back\\slash', "UPPER", ' blank '`,
    `'"$user", public'`,
  ];
  const databases = paths.map((_, index) => `odd_${index}`);
  for (const [index, database] of databases.entries()) {
    await server.query('postgres', `create database ${database}`);
    for (const whose of [`database ${database}`, `role "the, ""role""" in database ${database}`])
      await server.query('postgres', `alter ${whose} set search_path to ${paths[index]}`);
    await server.query('postgres', `alter database ${database} set "odd.note" to 'it''s, "so"; \\n = x'`);
    await server.query('postgres', `alter database ${database} set datestyle to 'ISO, DMY'`);
  }
  const { backupId } = await harness.backup({ databases });
  expect(await harness.verify(4, backupId)).toMatchObject({ reached: 4, findings: [] });
  for (const database of databases) {
    const before = await settingsOf(database);
    expect(before).toHaveLength(4);
    await harness.restore(backupId, { way: 'swap', database });
    expect(await settingsOf(database)).toEqual(before);
  }
});

test('F5: the owner of a database writes no statement into its settings that a restore would run', async () => {
  await server.query('postgres', "create role alice login password 'x'");
  await server.query('postgres', 'create database planted owner alice');
  await server.queryAs('alice', 'x', 'planted', 'create table t (i int)');
  for (const path of ['public;alter/**/role/**/alice/**/superuser', '', 'Public, "x""y"']) {
    await server.queryAs(
      'alice',
      'x',
      'planted',
      `select set_config('search_path', '${path}', false); alter database planted set search_path from current`,
    );
    const { backupId } = await harness.backup({ databases: ['planted'] });
    await harness.restore(backupId, { way: 'swap', database: 'planted' });
    const [role] = await server.query('postgres', "select rolsuper from pg_roles where rolname = 'alice'");
    expect(role).toEqual({ rolsuper: false });
    const shown = await server.query('planted', 'select current_schemas(false)::text as schemas');
    expect(shown).toEqual([{ schemas: path.startsWith('Public') ? '{public}' : '{}' }]);
  }
});

test('F8: a setting that this server does not know is left out with a warning; everything else is restored', async () => {
  await server.query('postgres', 'create database aged');
  await server.query('aged', 'create table t as select 1 as n');
  await server.query('postgres', "comment on database aged is 'kept'");
  await server.query('postgres', "alter database aged set work_mem to '5MB'");
  // As a database looks that was made by a version which still had this setting.
  const plant =
    "update pg_db_role_setting set setconfig = setconfig || '{gone_with_9=on}' where setdatabase = (select oid from pg_database where datname = 'aged')";
  await server.query('postgres', plant);
  const { backupId } = await harness.backup({ databases: ['aged'] });
  expect(await harness.verify(6, backupId)).toMatchObject({ reached: 6, findings: [] });
  const source = await harness.repository.open(ref, backupId);
  const mode = { way: 'swap', database: 'aged' } as const;
  const { hash } = await harness.plan(mode, source, await harness.context());
  const request = { restore: mode, jobId: uuidv7(), planHash: hash };
  const { warnings } = await harness.carryOut(request, source, await harness.context());
  expect(warnings).toMatchObject([
    {
      code: 'SETTING_LEFT_OUT',
      subject: { kind: 'setting', name: 'gone_with_9' },
      params: { reason: expect.stringContaining('undefined object') },
    },
  ]);
  expect(await settingsOf('aged')).toEqual([{ role: null, setting: 'work_mem=5MB' }]);
  const [about] = await server.query(
    'aged',
    "select shobj_description(oid, 'pg_database') as c from pg_database where datname = 'aged'",
  );
  expect([about, await server.query('aged', 'select n from t')]).toEqual([{ c: 'kept' }, [{ n: 1 }]]);
});

test('F7: an empty list in the settings of a role, which pg_dumpall writes as no value at all, fails neither the restore test nor the restore', async () => {
  await server.query('postgres', "create role hollow login password 'x'");
  await server.query('postgres', 'create database hollow owner hollow');
  await server.queryAs(
    'hollow',
    'x',
    'hollow',
    "create table t (i int); select set_config('search_path', '', false); alter role hollow set search_path from current",
  );
  const { backupId } = await harness.backup({ databases: ['hollow'] });
  expect(await harness.verify(5, backupId)).toMatchObject({ reached: 5, findings: [] });
});

const made = (over: Partial<Properties>): Properties => ({
  format: 1,
  database: 'shop',
  owner: 'lg_super',
  encoding: 'UTF8',
  collate: 'C.UTF-8',
  ctype: 'C.UTF-8',
  provider: 'libc',
  icuLocale: null,
  icuRules: null,
  connectionLimit: -1,
  allowConnections: true,
  isTemplate: false,
  tablespace: 'pg_default',
  comment: null,
  settings: [],
  grants: null,
  ...over,
});

test('F9: the provider of the locale is named wherever a server knows more than one', () => {
  const statement = (major: number, over: Partial<Properties>): string =>
    createDatabase(made(over), 'a"b', null, major);
  const plain = "create database \"a\"\"b\" template template0 encoding 'UTF8' lc_collate 'C.UTF-8' lc_ctype 'C.UTF-8'";
  const icu = { provider: 'icu', icuLocale: 'de-u-co-phonebk', icuRules: '& a < b' } as const;
  expect(statement(14, {})).toBe(plain);
  expect(statement(15, {})).toBe(`${plain} locale_provider libc`);
  expect(statement(17, icu)).toBe(`${plain} locale_provider icu icu_locale 'de-u-co-phonebk' icu_rules '& a < b'`);
  expect(statement(17, { provider: 'builtin', icuLocale: 'C.UTF-8' })).toBe(
    `${plain} locale_provider builtin builtin_locale 'C.UTF-8'`,
  );
});

test('F9: reports how a database sorts or stores text differently from its source', () => {
  expect(differingProperties(made({}), made({ owner: 'other', settings: [{ role: null, setting: 'a=b' }] }))).toEqual(
    [],
  );
  const found = made({ encoding: 'LATIN1', provider: 'icu', icuLocale: 'und' });
  expect(differingProperties(made({}), found).map(formatFinding)).toEqual([
    'encoding of the database is "LATIN1", that of the source "UTF8"',
    'provider of the locale of the database is "icu", that of the source "libc"',
    'locale of the database is "und", that of the source none',
  ]);
});

test('F9: a database that uses libc keeps it on a server whose default is ICU', async ({ skip }) => {
  skip(...(await lacking(server, 'icu')));
  await using icu = await startPostgres();
  const [{ major } = { major: 0 }] = (await icu.query(
    'postgres',
    "select current_setting('server_version_num')::int / 10000 as major",
  )) as { major: number }[];
  skip(major < 15, 'before PostgreSQL 15 no database is of ICU');
  const locale = major < 17 ? 'daticulocale' : 'datlocale';
  await icu.query(
    'postgres',
    `update pg_database set datlocprovider = 'i', ${locale} = 'de-u-co-phonebk' where datname = 'template0'`,
  );
  await icu.query('postgres', 'create database plain template template1');
  await icu.query('postgres', 'create database sorted template template0');
  await using there = await EngineHarness.open(icu);
  const { backupId } = await there.backup({ databases: ['plain', 'sorted'] });
  for (const [database, provider] of [
    ['plain', 'c'],
    ['sorted', 'i'],
  ] as const) {
    await there.restore(backupId, { way: 'swap', database });
    const asked = 'select datlocprovider as provider from pg_database where datname = $1';
    expect(await icu.query('postgres', asked, [database])).toEqual([{ provider }]);
  }
  expect(await there.verify(4, backupId)).toMatchObject({ reached: 4, findings: [] });
});
