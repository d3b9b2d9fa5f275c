import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test, vi } from 'vitest';
import { EngineHarness, ref } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

const { server, harness, cleanup } = await usePostgres({ extraConf: 'autovacuum_naptime = 1' });
/** An agent as managed servers allow it: no superuser, a member of the owner. */
let there: EngineHarness;

beforeAll(async () => {
  await server.query(
    'postgres',
    "create role app_owner login password 'o'; create role dba login createdb createrole password 'y'; grant app_owner, pg_signal_backend, pg_read_all_data to dba",
  );
  const passfile = join(harness.folder, 'dba.pgpass');
  await writeFile(passfile, '*:*:*:dba:y\n', { mode: 0o600 });
  there = cleanup.use(await EngineHarness.open(server, { user: 'dba', passfile }, join(harness.folder, 'repository')));
}, 120_000);

test('an agent that is not a superuser restores tables that the owner of the database has in the schema public', async () => {
  await server.query('postgres', 'create database app owner app_owner');
  await server.queryAs('app_owner', 'o', 'app', 'create table t as select 1 as a');
  const { backupId } = await there.backup({ databases: ['app'] });
  await there.restore(backupId, { way: 'new', database: 'app', as: 'app_copy' });
  await there.restore(backupId, { way: 'swap', database: 'app' });
  for (const database of ['app', 'app_copy']) {
    const owners =
      "select pg_get_userbyid(datdba) as database, tableowner as table from pg_database, pg_tables where datname = current_database() and tablename = 't'";
    expect(await server.query(database, owners)).toEqual([{ database: 'app_owner', table: 'app_owner' }]);
    expect(await server.queryAs('app_owner', 'o', database, 'select a from t')).toEqual([{ a: 1 }]);
  }
});

test('a worker of autovacuum, which an agent that is not a superuser may not end, does not prevent a swap', async () => {
  await server.query('postgres', 'create database auto owner dba');
  await server.queryAs(
    'dba',
    'y',
    'auto',
    `create table t with (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1)
     as select repeat('x', 500) as x from generate_series(1, 30000)`,
  );
  const { backupId } = await there.backup({ databases: ['auto'] });
  await vi.waitFor(
    async () =>
      expect(
        await server.query(
          'postgres',
          "select from pg_stat_activity where datname = 'auto' and backend_type = 'autovacuum worker'",
        ),
      ).toHaveLength(1),
    30_000,
  );
  const { setAsideAs } = await there.restore(backupId, { way: 'swap', database: 'auto' });
  expect(await server.query('postgres', 'select from pg_database where datname = $1', [setAsideAs])).toHaveLength(1);
});

test('F7: an agent that is not a superuser creates plain roles with their passwords, and its plan refuses those that it may not create', async () => {
  await server.query(
    'postgres',
    "create role plain login connection limit 3 password 'p'; create role group_of_plain; grant group_of_plain to plain; create role mirror replication",
  );
  await server.query('postgres', 'create database lists owner dba');
  await server.queryAs('dba', 'y', 'lists', 'create table t as select 1 as a; create table m (a int)');
  await server.query('lists', 'grant select on t to plain, group_of_plain');
  const { backupId } = await harness.backup({ databases: ['lists'] });
  await server.query('lists', 'grant select on m to mirror');
  const { backupId: withMirror } = await harness.backup({ databases: ['lists'] });
  await server.query('lists', 'revoke all on t, m from plain, group_of_plain, mirror');
  await server.query('postgres', 'drop role plain, group_of_plain, mirror');
  const mode = { way: 'new', database: 'lists', as: 'lists_copy' } as const;
  const plan = await there.plan(mode, await there.repository.open(ref, withMirror), await there.context());
  expect(plan.refusals).toMatchObject([
    { code: 'ROLE_ATTRIBUTES_NOT_GRANTABLE', subject: { name: 'mirror' }, params: { attributes: ['REPLICATION'] } },
  ]);
  await there.restore(backupId, mode);
  expect(await server.queryAs('plain', 'p', 'lists_copy', 'select a from t')).toEqual([{ a: 1 }]);
  expect(await server.query('postgres', "select rolconnlimit as most from pg_roles where rolname = 'plain'")).toEqual([
    { most: 3 },
  ]);
});
