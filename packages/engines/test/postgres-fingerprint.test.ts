import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { lyingTool, temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { compareFingerprints } from '../src/postgres/compare-fingerprints.ts';
import { postgresConnectionSchema } from '../src/postgres/connection-schema.ts';
import type { DigestOf } from '../src/postgres/digests.ts';
import { type Fingerprint, fingerprintSchema, STABLE_SETTINGS, takeFingerprint } from '../src/postgres/fingerprint.ts';
import { Session } from '../src/postgres/session.ts';
import { EngineHarness, ref } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

const never = new AbortController().signal;
const { server, harness, cleanup } = await usePostgres();

/** The fingerprint of one database now. */
async function taken(database: string, digestOf?: DigestOf): Promise<Fingerprint> {
  await using session = await Session.open(postgresConnectionSchema.parse(server.connection), database, never);
  await session.run(`begin isolation level repeatable read; ${STABLE_SETTINGS}`);
  return await takeFingerprint(session, true, () => undefined, digestOf);
}
/** The fingerprint that a backup holds. */
async function stored(backupId: string): Promise<unknown> {
  const source = await harness.repository.open(ref, backupId);
  const [object] = source.manifest.objects.filter(({ role }) => role === 'fingerprint');
  if (object === undefined) throw new Error('no fingerprint');
  return JSON.parse(await text(source.open(object, never)));
}

test('E2: columns that a restore reorders, drops or computes by itself make no difference', async () => {
  await server.query('postgres', 'create database heirs');
  await server.query(
    'heirs',
    `create table p (a int); create table c (x text) inherits (p); insert into c values (1, 'one'); alter table p add column b int default 7;
     create table worn (a int, b int, "A" text, z int generated always as (a + 1) stored); insert into worn values (1, 2, '3'); alter table worn drop column b;
     create table void (); insert into void default values;
     create function shifting(i int) returns int language sql immutable as 'select $1 + (random() * 1000000000)::int';
     create table moving (a int, z int generated always as (shifting(a)) stored); insert into moving values (1)`,
  );
  const { backupId } = await harness.backup({ databases: ['heirs'] });
  expect(await harness.verify(6, backupId)).toMatchObject({ reached: 6, findings: [] });
});

test('E2: a changed, lost, doubled or exchanged value is a difference of contents', async () => {
  await server.query('postgres', 'create database changed');
  await server.query('changed', "create table t (b text, a text); insert into t values ('x', 'y'), ('v', null)");
  const source = await taken('changed');
  for (const [change, undo] of [
    ["update t set a = 'z' where b = 'x'", "update t set a = 'y' where b = 'x'"],
    ["update t set a = b, b = a where b = 'x'", "update t set a = b, b = a where b = 'y'"],
    ["update t set a = '' where b = 'v'", "update t set a = null where b = 'v'"],
    [
      "delete from t where b = 'v'; insert into t values ('x', 'y')",
      "truncate t; insert into t values ('x', 'y'), ('v', null)",
    ],
  ] as const) {
    await server.query('changed', change);
    expect(compareFingerprints(source, await taken('changed'))).toMatchObject([
      { level: 6, finding: { code: 'TABLE_CONTENTS_DIFFER', subject: { kind: 'table', name: 'public.t' } } },
    ]);
    await server.query('changed', undo);
    expect(compareFingerprints(source, await taken('changed'))).toEqual([]);
  }
});

test('a fingerprint of before digests were named is compared with digests of its own kind', async () => {
  await server.query('postgres', 'create database elder');
  await server.query('elder', "create table t (b text, a text); insert into t values ('x', 'y')");
  const { digestOf, ...unnamed } = await taken('elder', 'row');
  expect(digestOf).toBe('row');
  const elder = fingerprintSchema.parse(unnamed);
  expect(compareFingerprints(elder, await taken('elder', elder.digestOf))).toEqual([]);
  expect(compareFingerprints(elder, await taken('elder', 'columns'))).toHaveLength(1);
  const { backupId } = await harness.backup({ databases: ['elder'] });
  expect(await stored(backupId)).toMatchObject({ format: 1, digestOf: 'copy' });
});

test('A13: a sequence that wraps, falls or is set back during the dump fails neither the restore test nor the restore', async () => {
  const { path } = cleanup.use(await temporaryFolder());
  const file = await lyingTool(path, 'pg_dump', { lie: 'chatters', line: '', lines: 0 });
  const psql = `${join(server.binDir, 'psql')} -X -q -d restless -c`;
  const real = join(server.binDir, 'pg_dump');
  const changes = (offset: string): string =>
    [
      "select nextval('turning') from generate_series(1, 8)",
      "select nextval('falling') from generate_series(1, 3)",
      `select setval('reset', 500 - ${offset})`,
      "select nextval('rising') from generate_series(1, 3)",
    ]
      .map((sql) => `${psql} "${sql}" > /dev/null || exit 9`)
      .join('\n');
  await rm(file);
  await writeFile(
    file,
    `#!/bin/sh\n[ "$1" = --version ] && exec ${real} "$@"\n${changes('100')}\n${real} "$@"\nresult=$?\n${changes('200')}\nexit $result\n`,
    { mode: 0o755 },
  );
  await server.query('postgres', 'create database restless');
  await server.query(
    'restless',
    `create table t (i int); create sequence turning maxvalue 1000 cycle; select setval('turning', 990);
     create sequence falling increment -1; select nextval('falling'); create sequence reset; select setval('reset', 500);
     create sequence rising; select nextval('rising')`,
  );
  await using moving = await EngineHarness.open(server, { binDir: path });
  const { backupId } = await moving.backup({ databases: ['restless'] });
  const source = await moving.repository.open(ref, backupId);
  const [object] = source.manifest.objects.filter(({ role }) => role === 'fingerprint');
  if (object === undefined) throw new Error('no fingerprint');
  const { sequences } = fingerprintSchema.parse(JSON.parse(await text(source.open(object, never))));
  const ranges = Object.fromEntries(sequences.map(({ name, least, most }) => [name, `${least}..${most}`]));
  const whole = `1..${2n ** 63n - 1n}`;
  expect(ranges).toEqual({ turning: '1..1000', falling: '-7..-1', reset: whole, rising: '1..7' });
  expect(await moving.verify(5, backupId)).toMatchObject({ reached: 5, findings: [] });
  await moving.restore(backupId, { way: 'new', database: 'restless', as: 'calm' });
});

test('E2: large objects of any length are digested by what they hold, not by how it is stored', async () => {
  const MIB = 1024 * 1024;
  const objects = async (): Promise<Fingerprint['largeObjects']> => (await taken('objects')).largeObjects;
  await server.query('postgres', 'create database objects');
  const make = (sql: string) => server.query('objects', sql);
  expect(await objects()).toEqual({ count: '0', digest: '0:0' });
  await make('select lo_create(1)');
  const empty = await objects();
  for (const bytes of [1, MIB - 1, MIB, MIB + 1, 2 * MIB])
    await make(`select lo_from_bytea(${bytes + 1}, convert_to(repeat('x', ${bytes}), 'UTF8'))`);
  const some = await objects();
  expect([empty.count, some.count, some.digest === empty.digest]).toEqual(['1', '6', false]);
  await make(`select lo_put(${MIB + 2}, ${MIB}, 'y')`);
  expect((await objects()).digest).not.toBe(some.digest);
  await make(`select lo_put(${MIB + 2}, ${MIB}, 'x')`);
  expect(await objects()).toEqual(some);
  await make(`select lo_create(7); select lo_put(7, 3000000, 'z')`);
  const holed = await objects();
  await make(`select lo_unlink(7); select lo_from_bytea(7, decode(repeat('00', 3000000), 'hex') || 'z')`);
  expect(await objects()).toEqual(holed);
  await make(`select lo_put(7, 3000000, ''), lo_put(7, 1, '\\x00')`);
  expect(await objects()).toEqual(holed);
  await make('select lo_create(8)');
  expect((await objects()).digest).not.toBe(holed.digest);
  await make(`select lo_put(8, 1100000000, 'far')`);
  expect(await objects()).toMatchObject({ count: '8', digest: expect.stringMatching(/^-?\d+:-?\d+$/) });
});

test('a fingerprint of before digests were named has its large objects compared whole', async () => {
  await server.query('postgres', 'create database whole');
  await server.query('whole', "select lo_from_bytea(5, 'x')");
  const [elder, named] = [await taken('whole', 'row'), await taken('whole', 'columns')];
  expect(elder.largeObjects.digest).not.toBe(named.largeObjects.digest);
  expect(compareFingerprints(elder, await taken('whole', 'row'))).toEqual([]);
});
