import { type PostgresServer, startPostgres } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { elementsOf } from '../src/postgres/properties.ts';
import { EngineBench } from './bench-of-engine.ts';

const cleanup = new AsyncDisposableStack();
let server: PostgresServer;
let bench: EngineBench;

beforeAll(async () => {
  server = cleanup.use(await startPostgres());
  bench = cleanup.use(await EngineBench.open(server));
}, 120_000);
afterAll(() => cleanup.disposeAsync());

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
  const { backupId } = await bench.backup({ databases });
  expect(await bench.verify(4, backupId)).toEqual({ reached: 4, findings: [] });
  for (const database of databases) {
    const before = await settingsOf(database);
    expect(before).toHaveLength(4);
    await bench.restore(backupId, { type: 'swap', database });
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
    const { backupId } = await bench.backup({ databases: ['planted'] });
    await bench.restore(backupId, { type: 'swap', database: 'planted' });
    const [role] = await server.query('postgres', "select rolsuper from pg_roles where rolname = 'alice'");
    expect(role).toEqual({ rolsuper: false });
    const shown = await server.query('planted', 'select current_schemas(false)::text as schemas');
    expect(shown).toEqual([{ schemas: path.startsWith('Public') ? '{public}' : '{}' }]);
  }
});

test('F7: an empty list in the settings of a role, which pg_dumpall writes as no value at all, spoils neither proof nor restore', async () => {
  await server.query('postgres', "create role hollow login password 'x'");
  await server.query('postgres', 'create database hollow owner hollow');
  await server.queryAs(
    'hollow',
    'x',
    'hollow',
    "create table t (i int); select set_config('search_path', '', false); alter role hollow set search_path from current",
  );
  const { backupId } = await bench.backup({ databases: ['hollow'] });
  expect(await bench.verify(5, backupId)).toEqual({ reached: 5, findings: [] });
});
