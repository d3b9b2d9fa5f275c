import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { makeFinding } from '@lastgood/protocol';
import { missingNames, startPostgres } from '@lastgood/testkit';
import { expect, test, vi } from 'vitest';
import { postgresConnectionSchema } from '../src/postgres/connection-schema.ts';
import { passwordFrom } from '../src/postgres/passfile.ts';
import { toolEnvironment } from '../src/postgres/tool-environment.ts';
import { codeOf, EngineHarness, lacking, ref } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

const { server, harness } = await usePostgres({ extraConf: 'max_prepared_transactions = 2' });

async function made(name: string, sql: string): Promise<void> {
  await server.query('postgres', `create database ${name}`);
  await server.query(name, sql);
}
const equal = { reached: 6, findings: [] };

test('E2: columns that a dump restores in another order are equal all the same', async () => {
  await made(
    'inherited',
    `create table p (a int); create table c (x text) inherits (p); insert into c values (1, 'one'); alter table p add column b int default 7;
     create table nothing (); insert into nothing default values; create table gone (a int, b int); alter table gone drop column a; insert into gone values (1)`,
  );
  const { backupId } = await harness.backup({ databases: ['inherited'] });
  expect(await harness.verify(6, backupId)).toMatchObject(equal);
});

test('large objects beyond a gigabyte have digests, and one with holes is equal when it is restored', async () => {
  await made(
    'objects',
    "select lo_create(77); select lo_put(77, 1200000000, 'x'); select lo_from_bytea(78, 'abc'); select lo_create(79)",
  );
  const { backupId } = await harness.backup({ databases: ['objects'] });
  expect(await harness.verify(6, backupId)).toMatchObject(equal);
});

test('F7: what the superuser of initdb owned has an owner on a server whose superuser has another name', async ({
  skip,
}) => {
  skip(...(await lacking(server, 'hstore')));
  await made(
    'pinned',
    'create table t (a int); create extension hstore; create role clerk_of_pinned; grant select on t to clerk_of_pinned',
  );
  const { backupId } = await harness.backup({ databases: ['pinned'] });
  await using other = await startPostgres({ superuser: 'cloud_admin' });
  await using elsewhere = await EngineHarness.open(other);
  const source = await harness.repository.open(ref, backupId);
  const mode = { way: 'new', database: 'pinned', as: 'pinned' } as const;
  const plan = await elsewhere.plan(mode, source, await elsewhere.context());
  expect(missingNames(plan, 'role')).toEqual(['clerk_of_pinned', 'lg_super']);
  expect(plan.warnings).toContainEqual(makeFinding('BOOTSTRAP_ROLE_REDUCED', { kind: 'role', name: 'lg_super' }));
  const wanted = { restore: mode, jobId: backupId, planHash: plan.hash };
  await elsewhere.carryOut(wanted, source, await elsewhere.context());
  expect(await other.query('pinned', "select tableowner as owner from pg_tables where tablename = 't'")).toEqual([
    { owner: 'lg_super' },
  ]);
  expect(
    await other.query('postgres', "select rolsuper, rolcanlogin from pg_roles where rolname = 'lg_super'"),
  ).toEqual([{ rolsuper: false, rolcanlogin: false }]);
});

test('a database that has only extensions of the superuser needs no such role', async ({ skip }) => {
  skip(...(await lacking(server, 'hstore')));
  await server.query('postgres', 'create role owner_of_plain');
  await server.query('postgres', 'create database plain owner owner_of_plain');
  await server.query(
    'plain',
    'create extension hstore; grant all on schema public to owner_of_plain; set role owner_of_plain; create schema s; create table s.t (a int)',
  );
  const { backupId } = await harness.backup({ databases: ['plain'] });
  const source = await harness.repository.open(ref, backupId);
  await using other = await startPostgres({ superuser: 'cloud_admin' });
  await using elsewhere = await EngineHarness.open(other);
  const mode = { way: 'new', database: 'plain', as: 'plain' } as const;
  const plan = await elsewhere.plan(mode, source, await elsewhere.context());
  expect(missingNames(plan, 'role')).toEqual(['owner_of_plain']);
});

test('F7: a role that only has a setting in the database is needed', async () => {
  await made(
    'settings',
    "create table t (a int); create role bob; alter role bob in database settings set work_mem = '7MB'",
  );
  const { backupId } = await harness.backup({ databases: ['settings'] });
  await server.query('postgres', 'drop role bob');
  await harness.restore(backupId, { way: 'new', database: 'settings', as: 'settings_copy' });
  expect(
    await server.query(
      'postgres',
      "select setconfig from pg_db_role_setting s join pg_roles r on r.oid = s.setrole where rolname = 'bob'",
    ),
  ).toEqual([{ setconfig: ['work_mem=7MB'] }]);
});

test('a database of libc stays one on a server whose own databases are of ICU', async ({ skip }) => {
  skip(...(await lacking(server, 'icu')));
  await using icu = await startPostgres({ initdbArgs: ['--locale-provider=icu', '--icu-locale=de-u-co-phonebk'] });
  await using there = await EngineHarness.open(icu);
  await icu.query(
    'postgres',
    "create database src template template0 locale_provider libc lc_collate 'C' lc_ctype 'C'",
  );
  await icu.query('src', "create table t (a text); insert into t values ('b'), ('A'), ('a'), ('B')");
  const { backupId } = await there.backup({ databases: ['src'] });
  expect(await there.verify(6, backupId)).toMatchObject(equal);
  await there.restore(backupId, { way: 'new', database: 'src', as: 'copy' });
  const asked = "select datlocprovider as provider, datcollate from pg_database where datname in ('src', 'copy')";
  const [one, two] = await icu.query('postgres', asked);
  expect(two).toEqual(one);
  expect(await icu.query('copy', 'select string_agg(a, null order by a) as sorted from t')).toEqual([
    { sorted: 'ABab' },
  ]);
});

test('a sequence that goes round while it is backed up is not held against the backup', async () => {
  await made(
    'round',
    "create sequence s maxvalue 1000 cycle; select setval('s', 990); create table t as select g from generate_series(1, 200000) g",
  );
  let turning = true;
  const turn = (async () => {
    while (turning) await server.query('round', "select nextval('s') from generate_series(1, 7)");
  })();
  const { backupId } = await harness.backup({ databases: ['round'] });
  turning = false;
  await turn;
  expect(await harness.verify(6, backupId)).toMatchObject(equal);
});

test('J1: what a canceled backup asked of the server ends there within seconds', async () => {
  await made(
    'large',
    'create table t as select g, md5(g::text) m, md5((g + 1)::text) n from generate_series(1, 3000000) g',
  );
  const stop = new AbortController();
  const work = harness.backup({
    databases: ['large'],
    signal: stop.signal,
    progress: ({ phase }) => {
      if (phase.startsWith('fingerprint')) setTimeout(() => stop.abort(new Failure('JOB_CANCELED', 'canceled')), 300);
    },
  });
  expect(await codeOf(work)).toBe('JOB_CANCELED');
  const running = async (): Promise<number> =>
    (
      await server.query(
        'postgres',
        "select 1 from pg_stat_activity where application_name = 'lastgood' and state = 'active'",
      )
    ).length;
  await vi.waitFor(async () => expect(await running()).toBe(0), { timeout: 10_000, interval: 100 });
});

test('F1: a prepared transaction in the way of a swap is found by the plan, and a name of ours is refused', async () => {
  await made('busy', 'create table t (a int)');
  const { backupId } = await harness.backup({ databases: ['busy'] });
  const source = await harness.repository.open(ref, backupId);
  await server.query('busy', "begin; insert into t values (1); prepare transaction 'left'");
  const swap = { way: 'swap', database: 'busy' } as const;
  expect((await harness.plan(swap, source, await harness.context())).refusals).toMatchObject([
    { code: 'PREPARED_TRANSACTIONS' },
  ]);
  await server.query('busy', "rollback prepared 'left'");
  expect((await harness.plan(swap, source, await harness.context())).refusals).toEqual([]);
  const mine = { way: 'new', database: 'busy', as: 'x__lastgood_new_0123456789ab' } as const;
  expect(await codeOf(harness.plan(mine, source, await harness.context()))).toBe('BAD_INPUT');
});

test('a database whose name only looks like one of ours is backed up', async () => {
  await server.query('postgres', 'create database "x__lastgood_new_copy"');
  const { contents } = await harness.backup({ databases: null });
  expect(contents.map(({ name }) => name)).toContain('x__lastgood_new_copy');
});

test('nothing in the environment of the agent leads a tool to another server', async () => {
  process.env['PGSERVICE'] = 'elsewhere';
  process.env['PGHOSTADDR'] = '127.0.0.2';
  process.env['PGSSLROOTCERT'] = '/ca.pem';
  try {
    const environment = toolEnvironment(postgresConnectionSchema.parse(server.connection), 'shop', {
      requestEnglish: false,
    });
    expect(environment).toMatchObject({ PGSERVICE: undefined, PGHOSTADDR: undefined, PGDATABASE: 'shop' });
    expect(Object.keys(environment)).not.toContain('PGSSLROOTCERT');
    await made('led', 'create table t (a int)');
    const { backupId } = await harness.backup({ databases: ['led'] });
    expect(await harness.verify(4, backupId)).toMatchObject({ reached: 4, findings: [] });
  } finally {
    for (const name of ['PGSERVICE', 'PGHOSTADDR', 'PGSSLROOTCERT']) delete process.env[name];
  }
});

test.for([
  ['plain', 'secret', 'secret'],
  ['with a colon that nobody escaped', 'se:cret', 'se:cret'],
  ['with what is escaped', 'se\\:cr\\\\et', 'se:cr\\et'],
  ['empty', '', ''],
])('a password of the passfile is read as libpq does: %s', async ([, written, read]) => {
  const passfile = join(harness.folder, 'passfile');
  await writeFile(passfile, `# a comment\r\n*:*:other:*:wrong\r\n*:*:*:*:${written}\r\n`, { mode: 0o600 });
  const connection = postgresConnectionSchema.parse({ host: 'localhost', user: 'x', passfile });
  expect(await passwordFrom(connection, 'shop')).toBe(read);
});
