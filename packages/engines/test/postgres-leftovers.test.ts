import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { ArtifactSource } from '@lastgood/core';
import { uuidv7 } from '@lastgood/host';
import { beforeAll, expect, test } from 'vitest';
import { Session } from '../src/postgres/session.ts';
import { asideName } from '../src/postgres/swap.ts';
import { lockStagingDatabase } from '../src/postgres/sweep.ts';
import { EngineHarness, ref } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

const { server, harness } = await usePostgres({ extraConf: 'wal_level=logical\nmax_prepared_transactions=5' });
const SUBSCRIBE = "create subscription s connection 'host=127.0.0.1 port=1' publication p with (connect = false)";
const FORBID = `create function forbid() returns event_trigger language plpgsql as 'begin raise exception ''no ddl here''; end';
  create event trigger forbid on ddl_command_start execute function forbid()`;

beforeAll(async () => {
  await server.query('postgres', 'create database fed');
  await server.query('fed', 'create table t as select i from generate_series(1, 20000) i');
  await server.query('fed', SUBSCRIBE);
  await server.query('fed', FORBID);
}, 120_000);

const halfMade = async (): Promise<unknown[]> =>
  (await server.query('postgres', "select datname from pg_database where datname ~ '__lastgood_new_'")).map(
    (row) => row['datname'],
  );
const sweep = async (there = harness): Promise<readonly string[]> =>
  there.engine.sweep(await there.context(), () => new Set());

test('F2: a restore that is canceled amid its load leaves nothing, though the database has a subscription', async () => {
  const { backupId } = await harness.backup({ databases: ['fed'] });
  const source = await harness.repository.open(ref, backupId);
  const mode = { way: 'new', database: 'fed', as: 'copy' } as const;
  const { hash } = await harness.plan(mode, source, await harness.context());
  const stop = new AbortController();
  // The subscription is there when the counts are compared.
  const context = await harness.context(stop.signal, ({ phase }) => phase === 'check' && stop.abort());
  await expect(harness.carryOut({ restore: mode, jobId: uuidv7(), planHash: hash }, source, context)).rejects.toThrow(
    'aborted',
  );
  expect(await halfMade()).toEqual([]);
});

test('subscriptions come back disabled, in a restore test and in a restored database', async () => {
  const { backupId } = await harness.backup({ databases: ['fed'] });
  expect(await harness.verify(6, backupId)).toMatchObject({ reached: 6, findings: [] });
  await harness.restore(backupId, { way: 'new', database: 'fed', as: 'fed_copy' });
  expect(
    await server.query(
      'postgres',
      "select subname, subenabled from pg_subscription s join pg_database d on d.oid = subdbid where datname = 'fed_copy'",
    ),
  ).toEqual([{ subname: 's', subenabled: false }]);
});

test('F2: half-made databases with a subscription are swept, and one that cannot be dropped hinders no other', async () => {
  const names = ['a__lastgood_new_0123456789ab', 'b__lastgood_new_0123456789ab', 'c__lastgood_new_0123456789ab'];
  for (const name of names) await server.query('postgres', `create database ${name}`);
  await server.query('a__lastgood_new_0123456789ab', "begin; create table t (a int); prepare transaction 'held'");
  await server.query('b__lastgood_new_0123456789ab', SUBSCRIBE);
  await server.query('b__lastgood_new_0123456789ab', FORBID);
  const said: string[] = [];
  const context = { ...(await harness.context()), log: (message: string) => void said.push(message) };
  expect(await harness.engine.sweep(context, () => new Set())).toEqual([
    'half-restored database b__lastgood_new_0123456789ab',
    'half-restored database c__lastgood_new_0123456789ab',
  ]);
  expect(said).toEqual([
    expect.stringMatching(/a__lastgood_new_0123456789ab could not be removed: .*prepared transactions/),
  ]);
  await server.query('a__lastgood_new_0123456789ab', "rollback prepared 'held'");
  expect(await sweep()).toHaveLength(1);
});

test('a database whose name only resembles ours is left alone', async () => {
  const name = 'fed__lastgood_new_copy';
  await server.query('postgres', `create database ${name}`);
  expect(await sweep()).toEqual([]);
  expect(await halfMade()).toEqual([name]);
  await server.query('postgres', `drop database ${name}`);
});

test('F2: the half-made database of a restore of one agent is left alone by the sweep of another', async () => {
  await using other = await EngineHarness.open(server, { database: 'fed' });
  const jobId = uuidv7();
  const name = asideName('shop', 'new', jobId);
  {
    const connection = {
      ...server.connection,
      sslmode: 'prefer' as const,
      stallMs: 60_000,
      lockWaitMs: 1_000,
      preloadLibraries: [],
    };
    await using session = await Session.open(connection, 'postgres', new AbortController().signal);
    await lockStagingDatabase(session, jobId);
    await server.query('postgres', `create database "${name}"`);
    expect(await sweep(other)).toEqual([]);
  }
  expect(await sweep(other)).toEqual([`half-restored database ${name}`]);
});

test('F2: another agent that sweeps all the while removes nothing of restores that run', async () => {
  await using other = await EngineHarness.open(server);
  const { backupId } = await harness.backup({ databases: ['fed'] });
  let over = false;
  const swept: string[] = [];
  const sweeping = (async () => {
    while (!over) swept.push(...(await sweep(other)));
  })();
  for (let i = 0; i < 4; i += 1) await harness.restore(backupId, { way: 'new', database: 'fed', as: `fed_${i}` });
  over = true;
  await sweeping;
  expect(swept).toEqual([]);
});

test('F8: a locale that the server lacks is the cause that a restore tells, and nothing is left', async () => {
  await server.query('postgres', 'create database spoken');
  const { backupId } = await harness.backup({ databases: ['spoken'] });
  const real = await harness.repository.open(ref, backupId);
  const source: ArtifactSource = {
    manifest: real.manifest,
    log: real.log,
    open: (object, signal) =>
      object.role === 'properties' ? Readable.from(elsewhere(real.open(object, signal))) : real.open(object, signal),
  };
  const mode = { way: 'new', database: 'spoken', as: 'spoken_copy' } as const;
  const { hash } = await harness.plan(mode, source, await harness.context());
  await expect(
    harness.carryOut({ restore: mode, jobId: uuidv7(), planHash: hash }, source, await harness.context()),
  ).rejects.toMatchObject({ code: 'RESTORE_FAILED', message: expect.stringContaining('xx_XX') });
  expect(await halfMade()).toEqual([]);
});

test('a prepared transaction that came while a restore was loading refuses the swap by its name', async () => {
  await server.query('postgres', 'create database pending');
  const { backupId } = await harness.backup({ databases: ['pending'] });
  const mode = { way: 'swap', database: 'pending' } as const;
  const source = await harness.repository.open(ref, backupId);
  const { hash } = await harness.plan(mode, source, await harness.context());
  const prepare = "begin; create table t (a int); prepare transaction 'payment 7'";
  let preparing: Promise<unknown> | undefined;
  const context = await harness.context(undefined, ({ phase }) => {
    if (phase === 'restore') preparing ??= server.query('pending', prepare);
  });
  await expect(
    harness.carryOut({ restore: mode, jobId: uuidv7(), planHash: hash }, source, context),
  ).rejects.toMatchObject({
    code: 'TARGET_BUSY',
    message: expect.stringContaining("prepared transactions: 'payment 7'"),
  });
  await preparing;
  await server.query('pending', "rollback prepared 'payment 7'");
  expect(await halfMade()).toEqual([]);
});

async function* elsewhere(properties: Readable): AsyncGenerator<Buffer> {
  const value = JSON.parse(await text(properties)) as object;
  yield Buffer.from(JSON.stringify({ ...value, collate: 'xx_XX', ctype: 'xx_XX' }));
}
