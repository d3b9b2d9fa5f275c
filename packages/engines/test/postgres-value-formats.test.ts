import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { captureTool } from '@lastgood/host';
import { startPostgres, temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { EngineHarness } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

/** Settings under which the same text is another value, or the same value another text: they change no value of a restore. */
const { server, harness, cleanup } = await usePostgres();

test('A11: a null in an array stays one, whatever the role and the database set for reading arrays', async () => {
  await server.query('postgres', 'create database lists');
  await server.query('lists', "create table t (a text[]); insert into t values ('{a,NULL}')");
  const { backupId } = await harness.backup({ databases: ['lists'] });
  await server.query(
    'postgres',
    'alter role lg_super set array_nulls = off; alter database lists set array_nulls = off',
  );
  await harness.restore(backupId, { way: 'new', database: 'lists', as: 'lists copy' });
  await harness.restore(backupId, { way: 'in-place', database: 'lists' });
  await server.query('postgres', 'alter role lg_super reset array_nulls');
  for (const name of ['lists', 'lists copy'])
    expect(await server.query(name, 'select a[2] is null as missing from t')).toEqual([{ missing: true }]);
});

test('A11: dates, intervals and amounts are the same under every style of writing them', async () => {
  await server.query('postgres', 'create database styles');
  await server.query(
    'styles',
    `create table t (a date, b interval, c timestamptz, d text default (null = null)::text);
     insert into t values ('2026-02-01', '-1 day +02:03:00', '1900-02-01 12:00 Europe/Amsterdam'), ('0099-12-01 bc', '-1 year -2 mons +3 days', 'infinity')`,
  );
  const asked =
    'select a - date $$2000-01-01$$ as a, extract(epoch from b) as b, extract(epoch from c) as c from t order by a';
  const before = await server.query('styles', asked);
  const styles = ["datestyle = 'SQL, DMY'", "intervalstyle = 'sql_standard'", "timezone = 'Europe/Amsterdam'"];
  for (const style of [...styles, 'transform_null_equals = on', "bytea_output = 'escape'"])
    await server.query('postgres', `alter database styles set ${style}`);
  const { backupId } = await harness.backup({ databases: ['styles'] });
  await harness.restore(backupId, { way: 'in-place', database: 'styles' });
  expect(await server.query('styles', asked)).toEqual(before);
});

test('a role is valid until the same day, however dates are written where it is dumped', async () => {
  await server.query('postgres', "create role guest valid until '2031-02-01 12:00+00'");
  await server.query('postgres', 'create database visits owner guest');
  await server.query('postgres', "alter database postgres set datestyle = 'SQL, DMY'");
  const { backupId } = await harness.backup({ databases: ['visits'] });
  await server.query('postgres', 'alter database postgres reset datestyle');
  await server.query('postgres', 'drop database visits');
  await server.query('postgres', 'drop role guest');
  await harness.restore(backupId, { way: 'new', database: 'visits', as: 'visits' });
  const asked =
    "select extract(month from rolvaliduntil at time zone 'utc')::int as month from pg_roles where rolname = 'guest'";
  expect(await server.query('postgres', asked)).toEqual([{ month: 2 }]);
});

test('a materialized view is filled as the settings of its database have it', async () => {
  await server.query('postgres', 'create database regional');
  await server.query('postgres', "alter database regional set datestyle = 'German'");
  await server.query(
    'regional',
    "create table t (a date); insert into t values ('2026-02-01'); create materialized view v as select a::text as a from t",
  );
  const { backupId } = await harness.backup({ databases: ['regional'] });
  await harness.restore(backupId, { way: 'in-place', database: 'regional' });
  expect(await server.query('regional', 'select a from v')).toEqual([{ a: '01.02.2026' }]);
});

/** Compiles locales that the tests need into a folder where servers find them; says why when that cannot be. */
async function compileLocales(...names: string[]): Promise<string | null> {
  const { path } = cleanup.use(await temporaryFolder());
  await chmod(path, 0o755);
  const never = new AbortController().signal;
  try {
    for (const name of names) {
      const args = ['--no-archive', '-i', name, '-f', 'UTF-8', join(path, `${name}.UTF-8`)];
      await captureTool({ file: 'localedef', args, signal: never, timeoutMs: 60_000 });
    }
  } catch (error) {
    return error instanceof Error ? error.message.slice(0, 100) : String(error);
  }
  process.env['LOCPATH'] = path;
  return null;
}

test.for(['es_AR', 'de_DE'])(
  'A11: amounts of money of a server in %s are the same on any other',
  async (name, { skip }) => {
    const reason = await compileLocales(name);
    cleanup.defer(() => void delete process.env['LOCPATH']);
    skip(reason !== null, `locales cannot be made here: ${reason}`);
    await using source = await startPostgres({ extraConf: `lc_monetary = '${name}.UTF-8'` });
    await using there = await EngineHarness.open(source);
    await source.query('postgres', 'create database tills');
    await source.query('tills', 'create table t (a money); insert into t values (12.34::numeric::money)');
    expect(await source.query('tills', 'select a::text from t')).toMatchObject([
      { a: expect.stringContaining('12,34') },
    ]);
    const { backupId } = await there.backup({ databases: ['tills'] });
    expect(await there.verify(6, backupId)).toMatchObject({ reached: 6, findings: [] });
    await using elsewhere = await EngineHarness.open(server, {}, join(there.folder, 'repository'));
    for (const [target, where] of [
      [server, elsewhere],
      [source, there],
    ] as const) {
      await where.restore(backupId, { way: 'new', database: 'tills', as: `tills of ${name}` });
      expect(await target.query(`tills of ${name}`, 'select a::numeric::text as a from t')).toEqual([{ a: '12.34' }]);
    }
  },
);
