import { uuidv7 } from '@lastgood/host';
import { beforeAll, expect, test, vi } from 'vitest';
import { asideName } from '../src/postgres/swap.ts';
import { usePostgres } from './support/use-postgres.ts';

const { server, harness } = await usePostgres();

beforeAll(async () => {
  await server.query('postgres', "create role own login password 'x'; create role peeper login password 'x'");
}, 120_000);

/** Its function waits wherever the database has another name, so that the load stands still there. */
async function slow(database: string): Promise<void> {
  await server.query('postgres', `create database ${database} owner own`);
  await server.query(
    database,
    `create function slow(int) returns int language plpgsql immutable as
       'begin if current_database() <> ''${database}'' then perform pg_sleep(4); end if; return $1; end';
     create table t (a int); create index on t (slow(a)); insert into t values (1); grant select on t to peeper`,
  );
}
const aclOf = async (database: string): Promise<unknown> =>
  (
    await server.query(
      'postgres',
      "select array_agg(x::text order by x::text) as acl from pg_database, unnest(coalesce(datacl, acldefault('d', datdba))) x where datname = $1",
      [database],
    )
  )[0]?.['acl'];

test('I8: nobody whom the source keeps out reads a database while a restore loads it, and its grants are those of the source', async () => {
  await slow('shut');
  await server.query('postgres', 'revoke all on database shut from public; grant connect on database shut to lg_super');
  const { backupId } = await harness.backup({ databases: ['shut'] });
  const jobId = uuidv7();
  const restoring = harness.restore(backupId, { way: 'new', database: 'shut', as: 'shut_copy' }, jobId);
  const fresh = asideName('shut_copy', 'new', jobId);
  await vi.waitFor(
    async () =>
      expect(
        await server.query('postgres', "select from pg_stat_activity where wait_event = 'PgSleep' and datname = $1", [
          fresh,
        ]),
      ).toHaveLength(1),
    30_000,
  );
  for (const role of ['peeper', 'own'])
    await expect(server.queryAs(role, 'x', fresh, 'select a from t')).rejects.toThrow('permission denied for database');
  await restoring;
  expect(await aclOf('shut_copy')).toEqual(await aclOf('shut'));
});

test('a database with the default grants has them again when it is restored, and one whose owner lost some has lost them', async () => {
  await server.query('postgres', 'create database plain owner own');
  const plain = (await harness.backup({ databases: ['plain'] })).backupId;
  await server.query('postgres', 'revoke create on database plain from own; grant connect on database plain to peeper');
  const few = (await harness.backup({ databases: ['plain'] })).backupId;
  await harness.restore(few, { way: 'new', database: 'plain', as: 'few' });
  expect(await aclOf('few')).toEqual(await aclOf('plain'));
  const { setAsideAs } = await harness.restore(plain, { way: 'swap', database: 'plain' });
  expect(await aclOf('plain')).toEqual(['=Tc/own', 'own=CTc/own']);
  expect(await aclOf(String(setAsideAs))).toEqual(['=Tc/lg_super', 'lg_super=Tc/lg_super', 'peeper=c/lg_super']);
});
