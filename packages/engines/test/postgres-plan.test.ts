import { uuidv7 } from '@lastgood/host';
import { makeFinding } from '@lastgood/protocol';
import type { DatabaseRestore } from '@lastgood/testkit';
import { beforeAll, expect, test } from 'vitest';
import { codeOf, ref } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

const { server, harness } = await usePostgres({ extraConf: 'max_prepared_transactions = 5\nwal_level = logical' });
let backupId: string;

beforeAll(async () => {
  await server.query('postgres', 'create database shop');
  await server.query('shop', 'create table t as select 1 as i');
  ({ backupId } = await harness.backup());
}, 120_000);

const planned = async (mode: DatabaseRestore, id = backupId) =>
  await harness.plan(mode, await harness.repository.open(ref, id), await harness.context());

test('F1: a prepared transaction in the database to be replaced is found by the plan, not after the load', async () => {
  await server.query('shop', "begin; insert into t values (2); prepare transaction 'waiting'");
  for (const way of ['swap', 'in-place'] as const) {
    expect((await planned({ way, database: 'shop' })).refusals).toMatchObject([
      { code: 'PREPARED_TRANSACTIONS', error: 'TARGET_BUSY', params: { transactions: ['waiting'] } },
    ]);
    expect(await codeOf(harness.restore(backupId, { way, database: 'shop' }))).toBe('TARGET_BUSY');
  }
  expect((await planned({ way: 'new', database: 'shop', as: 'copy' })).refusals).toEqual([]);
  await server.query('shop', "rollback prepared 'waiting'");
  expect((await planned({ way: 'swap', database: 'shop' })).refusals).toEqual([]);
});

test('F1: the plan of an in-place restore refuses subscriptions, which no transaction can drop', async () => {
  await server.query('postgres', 'create database copied');
  await server.query('copied', 'create table t (i int)');
  await server.query(
    'copied',
    "create subscription sub connection 'host=127.0.0.1 port=1 dbname=x' publication pub with (connect = false)",
  );
  const { backupId: copied } = await harness.backup({ databases: ['copied'] });
  const inPlace = { way: 'in-place', database: 'copied' } as const;
  expect((await planned(inPlace, copied)).refusals).toMatchObject([
    { code: 'SUBSCRIPTIONS_IN_DATABASE', params: { subscriptions: ['sub'] } },
  ]);
  expect((await planned({ way: 'swap', database: 'copied' }, copied)).refusals).toEqual([]);
  await server.query('copied', 'alter subscription sub set (slot_name = none)');
  await harness.restore(copied, inPlace);
});

test('F1: a new name that carries the mark of our own databases is refused, for a sweep would take it for one of them', async () => {
  for (const as of ['shop__lastgood_new_copy', '__lastgood_', `shop__lastgood_old_${uuidv7().slice(-12)}`])
    expect(await codeOf(planned({ way: 'new', database: 'shop', as }))).toBe('BAD_INPUT');
});

test('F9: the plan warns of a locale that the server does not know', async () => {
  const real = await harness.repository.open(ref, backupId);
  const source: typeof real = {
    manifest: real.manifest,
    log: real.log,
    open: (object, signal) =>
      object.role === 'properties'
        ? real
            .open(object, signal)
            .map((chunk: Buffer) => Buffer.from(String(chunk).replaceAll('C.UTF-8', 'xx_YY.UTF-8')))
        : real.open(object, signal),
  };
  const plan = await harness.plan({ way: 'swap', database: 'shop' }, source, await harness.context());
  expect(plan.warnings).toContainEqual(makeFinding('LOCALE_MAYBE_MISSING', { kind: 'locale', name: 'xx_YY.UTF-8' }));
  expect((await planned({ way: 'swap', database: 'shop' })).warnings).toEqual([]);
});

test('a database whose name only looks like one of ours is backed up, and neither swept nor taken for one that was set aside', async () => {
  const alike = [
    'a__lastgood_new_copy',
    'a__lastgood_old_0123456789abc',
    'a__lastgood_',
    'a__lastgood_undone_0123456789AB',
  ];
  const of = ['a__lastgood_old_0123456789ab', 'a__lastgood_undone_0123456789ab'];
  for (const name of [...alike, ...of]) await server.query('postgres', `create database "${name}"`);
  const { contents } = await harness.backup({ databases: null });
  const held = contents.map(({ name }) => name);
  expect(held).toEqual(expect.arrayContaining(alike));
  expect(held.filter((name) => of.includes(name))).toEqual([]);
  expect(await harness.engine.sweep(await harness.context(), () => new Set())).toEqual([]);
});

test('logical replication slots, which a swap leaves with the old database, are named by its plan', async () => {
  await server.query('postgres', 'create database streamed');
  const { backupId: streamed } = await harness.backup({ databases: ['streamed'] });
  const before = await planned({ way: 'swap', database: 'streamed' }, streamed);
  await server.query('streamed', "select pg_create_logical_replication_slot('debezium', 'pgoutput')");
  const after = await planned({ way: 'swap', database: 'streamed' }, streamed);
  expect(after.warnings).toMatchObject([{ code: 'REPLICATION_SLOTS_LEFT', params: { slots: ['debezium'] } }]);
  expect(after.hash).not.toBe(before.hash);
  expect((await planned({ way: 'in-place', database: 'streamed' }, streamed)).warnings).toEqual([]);
  await server.query('postgres', "select pg_drop_replication_slot('debezium')");
});

test('F5: whose code a restore runs with the rights of the agent is named by the plan, superusers and code of extensions aside', async () => {
  await server.query('postgres', 'create role checks; create role computes; create role domains; create role plain');
  await server.query('postgres', 'create database coded');
  await server.query(
    'coded',
    `create function f() returns int language sql as 'select 1'; create table quiet (a int); alter table quiet owner to plain;
     create table c (a int check (a > 0)); alter table c owner to checks;
     create table g (a int, b int generated always as (a + 1) stored); alter table g owner to computes;
     create domain d as int check (value > 0); alter domain d owner to domains`,
  );
  const { backupId: coded } = await harness.backup({ databases: ['coded'] });
  const mode = { way: 'new', database: 'coded', as: 'coded_copy' } as const;
  const ownersIn = async (backupId: string): Promise<unknown> => {
    const { warnings } = await planned(mode, backupId);
    return warnings.find(({ code }) => code === 'UNTRUSTED_CODE')?.params;
  };
  expect(await ownersIn(coded)).toEqual({ owners: ['checks', 'computes', 'domains'], role: 'lg_super' });
  await server.query('coded', 'alter function f owner to plain');
  const { backupId: more } = await harness.backup({ databases: ['coded'] });
  expect(await ownersIn(more)).toEqual({ owners: ['checks', 'computes', 'domains', 'plain'], role: 'lg_super' });
  expect((await planned({ way: 'swap', database: 'shop' })).warnings).toEqual([]);
});
