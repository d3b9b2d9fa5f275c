import { copyFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { uuidv7 } from '@lastgood/host';
import { type Finding, makeFinding } from '@lastgood/protocol';
import { lyingTool, temporaryFolder } from '@lastgood/testkit';
import pg from 'pg';
import { expect, test } from 'vitest';
import { codeOf, EngineHarness, ref } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

const { server, harness } = await usePostgres();

async function create(database: string, sql: string): Promise<string> {
  await server.query('postgres', `create database ${database}`);
  await server.query(database, sql);
  return (await harness.backup({ databases: [database] })).backupId;
}
/** The file that holds the dump of a backup of one database. */
async function dumpOf(backupId: string): Promise<string> {
  const files = await readdir(harness.folder, { recursive: true });
  const found = files.find((file) => file.includes(backupId) && file.endsWith('.dump.zst'));
  return join(harness.folder, found ?? 'no dump');
}

test('I7, E1: an in-place restore of a dump that was exchanged for a sound one of another time changes nothing', async () => {
  const older = await create('exchanged', 'create table t (a int); insert into t values (1)');
  await server.query('exchanged', 'update t set a = 2');
  const { backupId } = await harness.backup({ databases: ['exchanged'] });
  await server.query('exchanged', 'update t set a = 3');
  await copyFile(await dumpOf(older), await dumpOf(backupId));
  expect(await codeOf(harness.restore(backupId, { way: 'in-place', database: 'exchanged' }))).toBe('BACKUP_CORRUPT');
  expect(await server.query('exchanged', 'select a from t')).toEqual([{ a: 3 }]);
});

test('an in-place restore leaves tables that the backup does not hold, and says so', async () => {
  const backupId = await create('grown', 'create table t (a int); insert into t values (1)');
  await server.query('grown', 'create table later (a int); insert into later values (7)');
  const mode = { way: 'in-place', database: 'grown' } as const;
  const source = await harness.repository.open(ref, backupId);
  const { hash } = await harness.plan(mode, source, await harness.context());
  const result = await harness.carryOut(
    { restore: mode, jobId: uuidv7(), planHash: hash },
    source,
    await harness.context(),
  );
  expect(result.warnings).toEqual([makeFinding('TABLES_KEPT', null, { count: 1, tables: ['public.later'] })]);
  expect(await server.query('grown', 'select a from later')).toEqual([{ a: 7 }]);
});

test('an in-place restore into a database of another locale says so', async () => {
  const backupId = await create('moved', 'create table t (a text)');
  await server.query('postgres', 'drop database moved');
  await server.query('postgres', "create database moved template template0 lc_collate 'C' lc_ctype 'C'");
  const mode = { way: 'in-place', database: 'moved' } as const;
  const source = await harness.repository.open(ref, backupId);
  const { hash } = await harness.plan(mode, source, await harness.context());
  const result = await harness.carryOut(
    { restore: mode, jobId: uuidv7(), planHash: hash },
    source,
    await harness.context(),
  );
  expect(result.warnings).toEqual([
    makeFinding('PROPERTY_DIFFERS', null, { property: 'collation', found: '"C"', source: '"C.UTF-8"' }),
    makeFinding('PROPERTY_DIFFERS', null, { property: 'character type', found: '"C"', source: '"C.UTF-8"' }),
  ]);
});

test('E2: an in-place restore of a dump that lacks rows says that it is committed, and what is missing', async () => {
  await using tools = await temporaryFolder();
  await lyingTool(tools.path, 'pg_dump', { lie: 'chatters', line: '', lines: 0 });
  await rm(join(tools.path, 'pg_dump'));
  const real = join(server.binDir, 'pg_dump');
  await writeFile(join(tools.path, 'pg_dump'), `#!/bin/sh\nexec ${real} "$@" --role=half --enable-row-security\n`, {
    mode: 0o755,
  });
  await using lossy = await EngineHarness.open(server, { binDir: tools.path });
  await server.query('postgres', 'create database lossy');
  await server.query(
    'lossy',
    `create role half; create table t (a int); insert into t values (1), (2); grant select on t to half;
     alter table t enable row level security; create policy odd on t using (a = 1)`,
  );
  const { backupId } = await lossy.backup({ databases: ['lossy'] });
  await expect(lossy.restore(backupId, { way: 'in-place', database: 'lossy' })).rejects.toMatchObject({
    code: 'RESTORE_FAILED',
    message:
      'committed, but the database differs from its backup: table "public.t" of database "lossy" has 1 rows, the source had 2',
    remedy: expect.stringContaining('The old contents are replaced'),
  });
});

test('an in-place restore ends the sessions of the database, as its plan says', async () => {
  const backupId = await create('open', 'create table t (a int); insert into t values (1)');
  await server.query('open', 'update t set a = 2');
  const { client } = await reader('open');
  await harness.restore(backupId, { way: 'in-place', database: 'open' });
  expect(await server.query('open', 'select a from t')).toEqual([{ a: 1 }]);
  await client.end().catch(() => undefined);
});

test('an in-place restore waits for no lock of who comes back longer than it may, names it, and leaves the old contents', async () => {
  const backupId = await create('used', 'create table t (a int); insert into t values (1)');
  await server.query('used', 'update t set a = 2');
  await using tools = await temporaryFolder();
  await lyingTool(tools.path, 'pg_dump', { lie: 'chatters', line: '', lines: 0 });
  const back = join(tools.path, 'back');
  await rm(join(tools.path, 'pg_restore'));
  const late = `case " $* " in *--dbname=*) while [ ! -e ${back} ]; do sleep 0.05; done;; esac`;
  await writeFile(
    join(tools.path, 'pg_restore'),
    `#!/bin/sh\n${late}\nexec ${join(server.binDir, 'pg_restore')} "$@"\n`,
    { mode: 0o755 },
  );
  const connection = { lockWaitMs: 500, binDir: tools.path };
  await using impatient = await EngineHarness.open(server, connection, join(harness.folder, 'repository'));
  const mode = { way: 'in-place', database: 'used' } as const;
  const source = await impatient.repository.open(ref, backupId);
  const { hash } = await impatient.plan(mode, source, await impatient.context());
  let coming: ReturnType<typeof reader> | undefined;
  const context = await impatient.context(undefined, ({ phase }) => {
    if (phase === 'restore') coming ??= reader('used').finally(() => writeFile(back, ''));
  });
  const restoring = impatient.carryOut({ restore: mode, jobId: uuidv7(), planHash: hash }, source, context);
  await expect(restoring).rejects.toMatchObject({
    code: 'TARGET_BUSY',
    message: expect.stringMatching(/^the database is in use: waited 0.5 s for a lock of process \d+ of reader$/),
  });
  // Nobody who comes after stands behind it any more.
  expect(await server.query('used', "set lock_timeout = '10s'; select a from t")).toEqual([{ a: 2 }]);
  await (await coming)?.client.end();
});

/** A client in the middle of a transaction that has read. */
async function reader(database: string): Promise<{ client: pg.Client }> {
  await server.query(
    'postgres',
    "do $$ begin create role reader superuser login password 'r'; exception when duplicate_object then null; end $$",
  );
  const login = { host: server.host, port: server.port, user: 'reader', password: 'r', database };
  const client = new pg.Client({ ...login, application_name: 'reports' });
  client.on('error', () => undefined);
  await client.connect();
  await client.query('begin; select * from t');
  return { client };
}

async function inPlace(database: string, backupId: string): Promise<readonly Finding[]> {
  const mode = { way: 'in-place', database } as const;
  const source = await harness.repository.open(ref, backupId);
  const { hash } = await harness.plan(mode, source, await harness.context());
  const wanted = { restore: mode, jobId: uuidv7(), planHash: hash };
  return (await harness.carryOut(wanted, source, await harness.context())).warnings;
}

test('an in-place restore keeps large objects that were created after the backup, with a warning', async () => {
  await server.query('postgres', 'create database lob');
  await server.query('lob', "create table t (a oid); insert into t values (lo_from_bytea(0, 'x'))");
  const { backupId: ofLob } = await harness.backup({ databases: ['lob'] });
  await server.query('lob', "insert into t values (lo_from_bytea(0, 'y'))");
  const warnings = await inPlace('lob', ofLob);
  expect(warnings).toEqual([makeFinding('LARGE_OBJECTS_KEPT', null, { count: '1' })]);
  expect(
    await server.query('lob', 'select convert_from(lo_get(a), current_setting($1)) as a from t', ['server_encoding']),
  ).toEqual([{ a: 'x' }]);
});

test('partitions that were made since the backup, and go away with their parent, are named by the plan', async () => {
  await server.query('postgres', 'create database parts');
  await server.query(
    'parts',
    `create table p (a int) partition by list (a); create table p1 partition of p for values in (1); insert into p values (1);
     create table empty (a int) partition by list (a)`,
  );
  const { backupId: ofParts } = await harness.backup({ databases: ['parts'] });
  const source = await harness.repository.open(ref, ofParts);
  const planned = async () =>
    await harness.plan({ way: 'in-place', database: 'parts' }, source, await harness.context());
  const before = await planned();
  expect(before.warnings).toEqual([]);
  await server.query(
    'parts',
    `create table p2 partition of p for values in (2) partition by list (a); create table "p 2a" partition of p2 default;
     create table e1 partition of empty default;
     create table later (a int) partition by list (a); create table later1 partition of later default`,
  );
  const after = await planned();
  expect(after.warnings).toEqual([makeFinding('PARTITIONS_LOST', null, { partitions: ['public.e1', 'public.p 2a'] })]);
  expect(after.hash).not.toBe(before.hash);
  await inPlace('parts', ofParts);
  const left = "select relname as name from pg_class where relispartition and relkind = 'r' order by 1";
  expect(await server.query('parts', left)).toEqual([{ name: 'later1' }, { name: 'p1' }]);
});
