import { writeFile } from 'node:fs/promises';
import { makeFinding, remedyOfFinding } from '@lastgood/protocol';
import { missingNames, type PostgresServer, startPostgres } from '@lastgood/testkit';
import { beforeAll, expect, test } from 'vitest';
import { EngineHarness, lacking, ref } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

const { server, harness, cleanup } = await usePostgres();
let other: PostgresServer;
let elsewhere: EngineHarness;

/** Two servers; the first superuser of the second has another name, as after an initdb with another --username. */
beforeAll(async () => {
  other = cleanup.use(await startPostgres());
  await other.query('postgres', "create role boss superuser login password 'p'");
  await other.queryAs('boss', 'p', 'postgres', 'alter role lg_super rename to other_super');
  await writeFile(other.passfile, '*:*:*:boss:p\n', { mode: 0o600 });
  elsewhere = cleanup.use(await EngineHarness.open(other, { user: 'boss' }));
}, 120_000);

const ask = async (database: string, sql: string): Promise<unknown[]> =>
  await other.queryAs('boss', 'p', database, sql);
/** Plans on the second server, and restores there when the plan refuses nothing. */
async function moved(backupId: string, database: string) {
  const source = await harness.repository.open(ref, backupId);
  const mode = { way: 'new', database, as: database } as const;
  const plan = await elsewhere.plan(mode, source, await elsewhere.context());
  if (plan.refusals.length > 0) return plan;
  const wanted = { restore: mode, jobId: backupId, planHash: plan.hash };
  await elsewhere.carryOut(wanted, source, await elsewhere.context());
  return plan;
}
const madeOwners =
  "select rolname as name, rolsuper as super, rolcanlogin as login, rolpassword is null as empty from pg_authid where rolname = 'lg_super'";

test.for([
  [
    'a table',
    'create table t as select 1 as i',
    "select relowner::regrole::text as owner from pg_class where relname = 't'",
  ],
  ['a schema', 'create schema s', "select nspowner::regrole::text as owner from pg_namespace where nspname = 's'"],
  [
    'a function',
    "create function f() returns int language sql as 'select 1'",
    "select proowner::regrole::text as owner from pg_proc where proname = 'f'",
  ],
  [
    'a type',
    "create type mood as enum ('a')",
    "select typowner::regrole::text as owner from pg_type where typname = 'mood'",
  ],
  [
    'the schema public',
    'alter schema public owner to lg_super',
    "select nspowner::regrole::text as owner from pg_namespace where nspname = 'public'",
  ],
  [
    'a large object',
    "select lo_from_bytea(77, 'x')",
    'select lomowner::regrole::text as owner from pg_largeobject_metadata',
  ],
  [
    'a default privilege',
    'alter default privileges grant select on tables to public',
    'select defaclrole::regrole::text as owner from pg_default_acl',
  ],
  [
    'the database alone',
    'alter database DB owner to lg_super',
    'select datdba::regrole::text as owner from pg_database where datname = current_database()',
  ],
] as const)(
  'F7: what the first superuser owns (%s) comes back on a server whose first superuser has another name, without a second superuser',
  async ([what, make, owner]) => {
    const database = what.replaceAll(' ', '_');
    await server.query('postgres', `do $$ begin create role plain; exception when duplicate_object then end $$`);
    await server.query('postgres', `create database ${database} owner plain`);
    await server.query(database, make.replace('DB', database));
    const { backupId } = await harness.backup({ databases: [database] });
    const plan = await moved(backupId, database);
    expect(plan.refusals).toEqual([]);
    expect(missingNames(plan, 'role')).toContain('lg_super');
    expect(plan.warnings).toContainEqual(makeFinding('BOOTSTRAP_ROLE_REDUCED', { kind: 'role', name: 'lg_super' }));
    expect(await ask(database, owner)).toEqual([{ owner: 'lg_super' }]);
    expect(await ask('postgres', madeOwners)).toEqual([{ name: 'lg_super', super: false, login: false, empty: true }]);
    await ask('postgres', `drop database ${database}`);
    await ask('postgres', 'drop role lg_super');
  },
);

test('F7: a database in which the first superuser owns nothing needs no such role', async ({ skip }) => {
  skip(...(await lacking(server, 'citext')));
  await server.query('postgres', 'create database unowned owner plain');
  await server.query(
    'unowned',
    'create extension citext; set role plain; create schema s; create table s.t as select 1 as i',
  );
  const { backupId } = await harness.backup({ databases: ['unowned'] });
  const plan = await moved(backupId, 'unowned');
  expect([plan.refusals, missingNames(plan, 'role')]).toEqual([[], []]);
});

test('F7: the plan refuses what only a superuser may own when its owner is missing', async () => {
  await server.query('postgres', 'create database triggered');
  await server.query(
    'triggered',
    `create function noted() returns event_trigger language plpgsql as 'begin end';
     create event trigger et on ddl_command_end execute function noted()`,
  );
  const { backupId } = await harness.backup({ databases: ['triggered'] });
  const plan = await moved(backupId, 'triggered');
  expect(plan.refusals).toMatchObject([{ code: 'BOOTSTRAP_ROLE_MISSING', subject: { name: 'lg_super' } }]);
  expect(plan.refusals.map(remedyOfFinding).join()).toContain('create role "lg_super" superuser nologin');
  await ask('postgres', 'create role lg_super superuser nologin');
  expect((await moved(backupId, 'triggered')).refusals).toEqual([]);
  expect(await ask('triggered', 'select evtowner::regrole::text as owner from pg_event_trigger')).toEqual([
    { owner: 'lg_super' },
  ]);
});

test('F7: a role that has nothing but settings in a database is made with them', async () => {
  await server.query('postgres', 'create database tuned owner plain');
  await server.query('postgres', "create role tuner; alter role tuner in database tuned set work_mem = '7MB'");
  const { backupId } = await harness.backup({ databases: ['tuned'] });
  expect(missingNames(await moved(backupId, 'tuned'), 'role')).toEqual(['tuner']);
  const asked =
    'select setrole::regrole::text as role, setconfig as settings from pg_db_role_setting where setrole <> 0';
  expect(await ask('postgres', asked)).toEqual([{ role: 'tuner', settings: ['work_mem=7MB'] }]);
});
