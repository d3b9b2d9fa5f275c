import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { ArtifactSource } from '@lastgood/core';
import { uuidv7 } from '@lastgood/host';
import { makeFinding } from '@lastgood/protocol';
import { missingNames, seedShop, startPostgres } from '@lastgood/testkit';
import { beforeAll, expect, test } from 'vitest';
import { asideName } from '../src/postgres/swap.ts';
import { codeOf, EngineHarness, ref } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

const { server, harness } = await usePostgres();
let backupId: string;

beforeAll(async () => {
  await seedShop(server, 'shop', { rows: 3_000 });
  ({ backupId } = await harness.backup());
}, 120_000);

const orders = (database: string): Promise<unknown> =>
  server.query(
    database,
    "select count(*) as n, md5(string_agg(md5(o::text), '' order by md5(o::text))) as d from orders o",
  );
const names = async (): Promise<unknown[]> =>
  (await server.query('postgres', 'select datname from pg_database order by 1')).map((row) => row['datname']);

test('a backup of every awkward type and name reaches level 6: it equals its source', async () => {
  const outcome = await harness.engine.verify(6, await harness.repository.open(ref, backupId), await harness.context());
  expect(outcome).toMatchObject({ reached: 6, findings: [] });
  expect((await readdir(tmpdir())).filter((name) => name.startsWith(`lastgood-scratch-${process.pid}-`))).toEqual([]);
});

test('level 6 of a backup without digests is refused as a wrong question, not held against the backup', async () => {
  const plain = await harness.backup({ digests: false });
  const source = await harness.repository.open(ref, plain.backupId);
  const asked = harness.engine.verify(6, source, await harness.context());
  await expect(asked).rejects.toMatchObject({ code: 'BAD_INPUT', remedy: expect.stringContaining('--digests') });
  expect(await harness.engine.verify(5, source, await harness.context())).toMatchObject({ reached: 5, findings: [] });
});

test('a restore to a new name gives equal content, owner, settings, grants and comment', async () => {
  await harness.restore(backupId, { way: 'new', database: 'shop', as: 'shop copy "2"' });
  expect(await orders('shop copy "2"')).toEqual(await orders('shop'));
  const about = (name: string) =>
    server.query(
      'postgres',
      "select pg_get_userbyid(datdba) as owner, datcollate, datctype, encoding, shobj_description(oid, 'pg_database') as comment, (select array_agg(x::text order by x::text) from unnest(datacl) x) as acl, (select array_agg(setconfig::text order by setrole) from pg_db_role_setting where setdatabase = d.oid) as settings from pg_database d where datname = $1",
      [name],
    );
  expect(await about('shop copy "2"')).toEqual(await about('shop'));
});

test('F1: a restore to a name that exists is refused and changes nothing', async () => {
  await server.query('postgres', 'create database taken');
  expect(await codeOf(harness.restore(backupId, { way: 'new', database: 'shop', as: 'taken' }))).toBe(
    'TARGET_NOT_EMPTY',
  );
  expect(
    await server.query('taken', 'select count(*)::int as n from pg_tables where schemaname = $1', ['public']),
  ).toEqual([{ n: 0 }]);
});

test('a swap brings a lost table back while clients hold the database open, and undo brings the loss back', async () => {
  const before = await orders('shop');
  await server.query('shop', 'drop table orders cascade');
  const { jobId, setAsideAs } = await harness.restore(backupId, { way: 'swap', database: 'shop' });
  expect(setAsideAs).toContain('shop__lastgood_old_');
  expect(await orders('shop')).toEqual(before);
  const undone = await harness.engine.undo(jobId, await harness.context());
  expect(undone).toMatchObject({ into: 'shop', setAsideAs: expect.stringContaining('shop__lastgood_undone_') });
  await expect(orders('shop')).rejects.toThrow('orders');
  expect(
    await server.query(
      'postgres',
      "select shobj_description(oid, 'pg_database') as c from pg_database where datname = 'shop'",
    ),
  ).toEqual([{ c: "the shop's database" }]);
  await expect(harness.engine.undo(jobId, await harness.context())).rejects.toMatchObject({
    code: 'UNDO_IMPOSSIBLE',
    message: expect.stringContaining('was undone already'),
    remedy: expect.stringContaining('There is nothing to do'),
  });
  await harness.restore(backupId, { way: 'swap', database: 'shop' });
  expect(await orders('shop')).toEqual(before);
});

test('a swap restores a database that is gone altogether', async () => {
  await seedShop(server, 'gone', { rows: 10 });
  const { backupId: ofGone } = await harness.backup({ databases: ['gone'] });
  await server.query('postgres', 'drop database gone');
  expect(await harness.restore(ofGone, { way: 'swap', database: 'gone' })).toMatchObject({ setAsideAs: null });
  expect(await orders('gone')).toMatchObject([{ n: '10' }]);
});

test('a backup of every database of a server reaches level 6, and the one that our sessions stand in is swapped and undone', async () => {
  await using other = await startPostgres();
  await using elsewhere = await EngineHarness.open(other);
  await other.query('postgres', "create table kept as select 'in postgres' as place");
  await other.query('template1', "create table kept as select 'in template1' as place");
  const { backupId: ofAll } = await elsewhere.backup({ databases: null });
  expect(await elsewhere.verify(6, ofAll)).toMatchObject({ reached: 6, findings: [] });
  await other.query('postgres', 'drop table kept');
  const { jobId } = await elsewhere.restore(ofAll, { way: 'swap', database: 'postgres' });
  expect(await other.query('postgres', 'select place from kept')).toEqual([{ place: 'in postgres' }]);
  await elsewhere.engine.undo(jobId, await elsewhere.context());
  await expect(other.query('postgres', 'select place from kept')).rejects.toThrow('kept');
});

test('a swap restores the database that the agent connects to by default, when it is gone', async () => {
  await seedShop(server, 'home', { rows: 10 });
  await using there = await EngineHarness.open(server, { database: 'home' }, join(harness.folder, 'repository'));
  const { backupId: ofHome } = await there.backup({ databases: ['home'] });
  await server.query('postgres', 'drop database home');
  expect(await there.restore(ofHome, { way: 'swap', database: 'home' })).toMatchObject({ setAsideAs: null });
  expect(await orders('home')).toMatchObject([{ n: '10' }]);
});

test('databases of other encodings, and bytes of no encoding, are restore-tested and restored with their locale', async () => {
  const made = "template template0 lc_collate 'C' lc_ctype 'C'";
  await server.query('postgres', `create database latin ${made} encoding 'LATIN1'`);
  await server.query('latin', `create table "täble" (ö text); insert into "täble" values ('ÿ')`);
  await server.query('postgres', `create database ascii ${made} encoding 'SQL_ASCII'`);
  await server.query('ascii', String.raw`create table t as select convert_from('\xff80c3', 'SQL_ASCII') as v`);
  const { backupId: ofBoth } = await harness.backup({ databases: ['latin', 'ascii'] });
  expect(await harness.verify(6, ofBoth)).toMatchObject({ reached: 6, findings: [] });
  for (const database of ['latin', 'ascii']) await harness.restore(ofBoth, { way: 'swap', database });
  expect(await server.query('latin', 'select ö from "täble"')).toEqual([{ ö: 'ÿ' }]);
  expect(await server.query('ascii', 'select length(v) as n from t')).toEqual([{ n: 3 }]);
  expect(
    await server.query(
      'postgres',
      "select pg_encoding_to_char(encoding) as e from pg_database where datname in ('latin', 'ascii') order by 1",
    ),
  ).toEqual([{ e: 'LATIN1' }, { e: 'SQL_ASCII' }]);
});

test('an in-place restore replaces the contents in one transaction', async () => {
  await seedShop(server, 'here', { rows: 50 });
  const { backupId: ofHere } = await harness.backup({ databases: ['here'] });
  const before = await orders('here');
  await server.query('here', 'delete from orders where id % 2 = 0');
  await harness.restore(ofHere, { way: 'in-place', database: 'here' });
  expect(await orders('here')).toEqual(before);
});

test('F2, F8: an in-place restore that the server refuses half-way leaves the old contents', async () => {
  await seedShop(server, 'broken', { rows: 50 });
  const { backupId: ofBroken } = await harness.backup({ databases: ['broken'] });
  await server.query('broken', 'update orders set note = $1 where id = 1', ['changed since']);
  await server.query('broken', 'create table depends (customer int references customers)');
  const before = await orders('broken');
  expect(await codeOf(harness.restore(ofBroken, { way: 'in-place', database: 'broken' }))).toBe('RESTORE_FAILED');
  expect(await orders('broken')).toEqual(before);
});

test('F2: a restore that is canceled leaves no half-restored database', async () => {
  const before = await names();
  const source = await harness.repository.open(ref, backupId);
  const mode = { way: 'swap', database: 'shop' } as const;
  const { hash } = await harness.plan(mode, source, await harness.context());
  const stop = new AbortController();
  const context = { ...(await harness.context(stop.signal)), progress: () => stop.abort() };
  await expect(harness.carryOut({ restore: mode, jobId: uuidv7(), planHash: hash }, source, context)).rejects.toThrow();
  expect(await names()).toEqual(before);
});

test('F2: what a killed restore left behind is swept, and nothing else', async () => {
  const before = await names();
  await server.query('postgres', 'create database "shop__lastgood_new_0123456789ab"');
  expect(await harness.engine.sweep(await harness.context(), () => new Set())).toEqual([
    'half-restored database shop__lastgood_new_0123456789ab',
  ]);
  expect(await names()).toEqual(before);
});

test('F2: a sweep leaves alone what belongs to a job that runs', async () => {
  const before = await names();
  const jobId = uuidv7();
  const fresh = asideName('shop', 'new', jobId);
  await server.query('postgres', `create database "${fresh}"`);
  expect(await harness.engine.sweep(await harness.context(), () => new Set([jobId]))).toEqual([]);
  expect(await names()).toContain(fresh);
  expect(await harness.engine.sweep(await harness.context(), () => new Set([uuidv7()]))).toEqual([
    `half-restored database ${fresh}`,
  ]);
  expect(await names()).toEqual(before);
});

test('F3: a plan warns of another server and changes its hash when the situation changes', async () => {
  await using other = await startPostgres();
  await using elsewhere = await EngineHarness.open(other);
  const source = await harness.repository.open(ref, backupId);
  const mode = { way: 'swap', database: 'shop' } as const;
  const plan = await elsewhere.plan(mode, source, await elsewhere.context());
  expect(plan.warnings).toContainEqual(makeFinding('OTHER_SERVER', null));
  await other.query('postgres', 'create database shop');
  const later = await elsewhere.plan(mode, source, await elsewhere.context());
  expect(later.hash).not.toBe(plan.hash);
  expect(
    await codeOf(
      elsewhere.carryOut({ restore: mode, jobId: uuidv7(), planHash: plan.hash }, source, await elsewhere.context()),
    ),
  ).toBe('PLAN_CHANGED');
});

test('F7: roles that an empty server lacks are named by the plan and made from the globals', async () => {
  await using other = await startPostgres();
  await using elsewhere = await EngineHarness.open(other);
  const source = await harness.repository.open(ref, backupId);
  const mode = { way: 'swap', database: 'shop' } as const;
  const plan = await elsewhere.plan(mode, source, await elsewhere.context());
  expect(missingNames(plan, 'role')).toEqual(['shop "reader" - 1', 'shop_owner']);
  await elsewhere.carryOut({ restore: mode, jobId: uuidv7(), planHash: plan.hash }, source, await elsewhere.context());
  expect(await other.queryAs('shop "reader" - 1', 'read:er', 'shop', 'select count(*)::int as n from orders')).toEqual([
    { n: 3_000 },
  ]);
});

test('F7: an extension that the server does not have is a refusal with its name, before anything is made', async () => {
  const real = await harness.repository.open(ref, backupId);
  const source: ArtifactSource = {
    manifest: real.manifest,
    log: real.log,
    open: (object, signal) =>
      object.role === 'fingerprint'
        ? Readable.from(withExtension(real.open(object, signal)))
        : real.open(object, signal),
  };
  const mode = { way: 'new', database: 'shop', as: 'never_made' } as const;
  const plan = await harness.plan(mode, source, await harness.context());
  expect(plan).toMatchObject({
    missing: [{ kind: 'extension', name: 'not_installed_here' }],
    refusals: [{ code: 'EXTENSION_NOT_INSTALLED', subject: { name: 'not_installed_here' } }],
  });
  const refused = harness.carryOut(
    { restore: mode, jobId: uuidv7(), planHash: plan.hash },
    source,
    await harness.context(),
  );
  expect(await codeOf(refused)).toBe('RESTORE_FAILED');
  expect(await names()).not.toContain('never_made');
});

async function* withExtension(fingerprint: Readable): AsyncGenerator<Buffer> {
  const value = JSON.parse(await text(fingerprint)) as { extensions: object[] };
  yield Buffer.from(JSON.stringify({ ...value, extensions: [{ name: 'not_installed_here', version: '1' }] }));
}
