import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type PostgresServer, startPostgres } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EngineBench } from './bench-of-engine.ts';

const cleanup = new AsyncDisposableStack();
let server: PostgresServer;
let bench: EngineBench;
/** An agent as managed servers allow it: no superuser, a member of the owner. */
let there: EngineBench;

beforeAll(async () => {
  server = cleanup.use(await startPostgres());
  bench = cleanup.use(await EngineBench.open(server));
  await server.query(
    'postgres',
    "create role app_owner login password 'o'; create role dba login createdb createrole password 'y'; grant app_owner, pg_signal_backend, pg_read_all_data to dba",
  );
  const passfile = join(bench.folder, 'dba.pgpass');
  await writeFile(passfile, '*:*:*:dba:y\n', { mode: 0o600 });
  there = cleanup.use(await EngineBench.open(server, { user: 'dba', passfile }, join(bench.folder, 'repository')));
}, 120_000);
afterAll(() => cleanup.disposeAsync());

test('an agent that is no superuser restores tables that the owner of the database has in the schema public', async () => {
  await server.query('postgres', 'create database app owner app_owner');
  await server.queryAs('app_owner', 'o', 'app', 'create table t as select 1 as a');
  const { backupId } = await there.backup({ databases: ['app'] });
  await there.restore(backupId, { type: 'new', database: 'app', as: 'app_copy' });
  await there.restore(backupId, { type: 'swap', database: 'app' });
  for (const database of ['app', 'app_copy']) {
    const owners =
      "select pg_get_userbyid(datdba) as database, tableowner as table from pg_database, pg_tables where datname = current_database() and tablename = 't'";
    expect(await server.query(database, owners)).toEqual([{ database: 'app_owner', table: 'app_owner' }]);
    expect(await server.queryAs('app_owner', 'o', database, 'select a from t')).toEqual([{ a: 1 }]);
  }
});
