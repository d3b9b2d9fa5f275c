import { join } from 'node:path';
import type { ArtifactSource, EngineContext } from '@lastgood/core';
import { type PostgresServer, startPostgres } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { EngineHarness, ref } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

/** What a server, a database or a role has for its encodings and settings is nothing against a backup. */
const OWNER = 'müller & sønn';
const { server, harness } = await usePostgres();

/** A database whose owner's name has letters that every encoding writes in its own way. */
async function makeCustomers(on: PostgresServer): Promise<void> {
  await on.query('postgres', `create role "${OWNER}"`);
  await on.query('postgres', `create database customers owner "${OWNER}"`);
  await on.query('customers', `create table t (a text); alter table t owner to "${OWNER}"; insert into t values ('ä')`);
}
const ownerAndRow =
  "select (select pg_get_userbyid(relowner) from pg_class where oid = 't'::regclass) as owner, a from t";

test.for(['LATIN1', 'SQL_ASCII', 'WIN1252'])(
  'a server in %s is backed up, restore-tested and restored with the names of its roles',
  async (encoding) => {
    const initdbArgs = [`--encoding=${encoding}`, '--locale=C'];
    await using source = await startPostgres({ initdbArgs });
    await using there = await EngineHarness.open(source);
    await makeCustomers(source);
    const { backupId } = await there.backup({ databases: ['customers'] });
    expect(await there.verify(6, backupId)).toMatchObject({ reached: 6, findings: [] });
    await using other = await startPostgres({ initdbArgs });
    await using elsewhere = await EngineHarness.open(other, {}, join(there.folder, 'repository'));
    await elsewhere.restore(backupId, { way: 'new', database: 'customers', as: 'customers' });
    expect(await other.query('customers', ownerAndRow)).toEqual([{ owner: OWNER, a: 'ä' }]);
  },
);

test('A11: an encoding that a database sets for its clients loses no name and no character', async () => {
  await makeCustomers(server);
  await server.query('customers', "insert into t values ('€')");
  for (const name of ['postgres', 'customers'])
    await server.query('postgres', `alter database ${name} set client_encoding = 'LATIN1'`);
  const { backupId } = await harness.backup({ databases: ['customers'] });
  expect(await harness.verify(6, backupId)).toMatchObject({ reached: 6, findings: [] });
  await using other = await startPostgres();
  await using elsewhere = await EngineHarness.open(other, {}, join(harness.folder, 'repository'));
  await elsewhere.restore(backupId, { way: 'new', database: 'customers', as: 'customers' });
  expect(await other.query('customers', `${ownerAndRow} order by a`)).toEqual([
    { owner: OWNER, a: 'ä' },
    { owner: OWNER, a: '€' },
  ]);
});

test('bytes of no encoding that a database of SQL_ASCII holds are those that a restore brings', async () => {
  await server.query('postgres', "create database raw encoding 'SQL_ASCII' locale 'C' template template0");
  await server.query(
    'raw',
    "create table t (a text); insert into t select convert_from('\\xe4ff'::bytea, 'SQL_ASCII')",
  );
  await server.query('postgres', "alter database raw set client_encoding = 'UTF8'");
  const { backupId } = await harness.backup({ databases: ['raw'] });
  expect(await harness.verify(6, backupId)).toMatchObject({ reached: 6, findings: [] });
  await harness.restore(backupId, { way: 'new', database: 'raw', as: 'raw_copy' });
  const bytes = "select encode(convert_to(a, 'SQL_ASCII'), 'hex') as a from t";
  expect(await server.query('raw_copy', bytes)).toEqual([{ a: 'e4ff' }]);
});

test('a setting or comment of a role that the scratch server refuses is logged, and no finding', async () => {
  await server.query('postgres', "create role picky; alter role picky set work_mem to '9MB'");
  await server.query('postgres', 'create database plain');
  const { backupId } = await harness.backup({ databases: ['plain'] });
  const real = await harness.repository.open(ref, backupId);
  const altered = (change: (globals: string) => string): ArtifactSource => ({
    manifest: real.manifest,
    log: real.log,
    open: (object, signal) =>
      object.role === 'globals'
        ? real.open(object, signal).map((chunk: Buffer) => Buffer.from(change(String(chunk))))
        : real.open(object, signal),
  });
  const lines: string[] = [];
  const context: EngineContext = { ...(await harness.context()), log: (line) => lines.push(line) };
  const picky = altered((globals) => globals.replace("TO '9MB'", "TO 'nine'"));
  expect(await harness.engine.verify(4, picky, context)).toMatchObject({ reached: 4, findings: [] });
  expect(lines.join('\n')).toMatch(/left out of the roles: .*invalid parameter value/);
  const broken = altered((globals) => globals.replace('ALTER ROLE picky WITH ', 'ALTER ROLE picky WITH UNHEARD '));
  expect(await harness.engine.verify(4, broken, await harness.context())).toMatchObject({
    reached: 3,
    findings: [{ level: 4, params: { message: expect.stringMatching(/role "picky".*SQLSTATE 42601/) } }],
  });
});
