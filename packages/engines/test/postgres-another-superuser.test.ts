import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { uuidv7 } from '@lastgood/host';
import { missingNames, startPostgres } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { EngineHarness, ref } from './support/engine-harness.ts';

test('F7: a server whose first superuser has another name gets what the first superuser of the source owned', async () => {
  await using server = await startPostgres();
  await using bench = await EngineHarness.open(server);
  await server.query('postgres', 'create database shop');
  await server.query('shop', 'create table of_super (a int); create materialized view v as select a from of_super');
  const { backupId } = await bench.backup();
  await using other = await startPostgres();
  await other.query('postgres', "create role boss superuser login password 'b'");
  await other.queryAs('boss', 'b', 'postgres', 'alter role lg_super rename to first_of_here');
  const passfile = join(bench.folder, 'boss.pgpass');
  await writeFile(passfile, '*:*:*:boss:b\n', { mode: 0o600 });
  await using there = await EngineHarness.open(other, { user: 'boss', passfile });
  const source = await bench.repository.open(ref, backupId);
  const mode = { way: 'swap', database: 'shop' } as const;
  const plan = await there.plan(mode, source, await there.context());
  expect(missingNames(plan, 'role')).toContain('lg_super');
  await there.carryOut({ restore: mode, jobId: uuidv7(), planHash: plan.hash }, source, await there.context());
  const owner = "select tableowner as o from pg_tables where tablename = 'of_super'";
  expect(await other.queryAs('boss', 'b', 'shop', owner)).toEqual([{ o: 'lg_super' }]);
});
