import { type PostgresServer, startPostgres } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EngineHarness, ref } from './support/engine-harness.ts';

const cleanup = new AsyncDisposableStack();
let server: PostgresServer;
let bench: EngineHarness;
let backupId: string;

const MODE = { way: 'new', database: 'shop', as: 'copy' } as const;
const attributes = `select rolname as name, rolcanlogin as login, rolsuper as super, rolcreaterole as makes_roles, rolcreatedb as makes_databases,
  rolreplication as replicates, rolbypassrls as bypasses, rolpassword is not null as password from pg_authid where rolname = any($1) order by 1`;
const NONE = {
  ...{ login: false, super: false, makes_roles: false, makes_databases: false },
  ...{ replicates: false, bypasses: false, password: false },
};
const memberships = `select pg_get_userbyid(roleid) as group, pg_get_userbyid(member) as member from pg_auth_members
  where pg_get_userbyid(member) in ('mallory', 'helper', 'clerk') order by 1, 2`;

/** A superuser with a table, who was dropped after the backup. */
beforeAll(async () => {
  server = cleanup.use(await startPostgres());
  await server.query(
    'postgres',
    "create role mallory superuser createdb createrole replication bypassrls login password 'old-secret'",
  );
  await server.query('postgres', 'create role helper login; create role clerk login; create role staff');
  await server.query(
    'postgres',
    'grant pg_read_server_files, staff to mallory; grant mallory to helper; grant helper to clerk',
  );
  await server.query('postgres', 'create database shop');
  await server.query(
    'shop',
    'create table theirs (id int); alter table theirs owner to mallory; insert into theirs values (1)',
  );
  await server.query('shop', 'create table ours (id int); alter table ours owner to helper');
  bench = cleanup.use(await EngineHarness.open(server, {}, undefined, 'limited'));
  ({ backupId } = await bench.backup());
  await server.query('postgres', 'drop database shop');
  await server.query('postgres', 'drop role mallory; drop role helper');
});
afterAll(() => cleanup.disposeAsync());

test('attack-B9: a restore brings a dropped superuser back as the owner of its data, and with nothing else', async () => {
  const source = await bench.repository.open(ref, backupId);
  const plan = await bench.plan(MODE, source, await bench.context());
  expect(plan.warnings.map(({ code }) => code)).toContain('ROLES_CREATED_WITHOUT_RIGHTS');
  expect(plan.warnings.map(({ code }) => code)).not.toContain('ROLES_WILL_BE_CREATED');
  const order = { restore: MODE, jobId: backupId, planHash: plan.hash };
  await bench.carryOut(order, source, await bench.context());
  expect(await server.query('copy', attributes, [['mallory', 'helper']])).toEqual([
    { name: 'helper', ...NONE },
    { name: 'mallory', ...NONE },
  ]);
  await expect(server.queryAs('mallory', 'old-secret', 'copy', 'select 1')).rejects.toThrow();
  // Between restored roles, and of a present role in a restored one. Nothing of what the server has by itself.
  expect(await server.query('copy', memberships)).toEqual([
    { group: 'helper', member: 'clerk' },
    { group: 'mallory', member: 'helper' },
  ]);
  expect(
    await server.query('copy', 'select tableowner as owner from pg_tables where tablename = $1', ['theirs']),
  ).toEqual([{ owner: 'mallory' }]);
  expect(await server.query('copy', 'select id from theirs')).toEqual([{ id: 1 }]);
});
