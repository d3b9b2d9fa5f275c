import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type PostgresServer, startOnFolder, startPrimary } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { codeOf, ref } from './support/engine-harness.ts';
import { ServerHarness } from './support/server-harness.ts';

const cleanup = new AsyncDisposableStack();
let server: PostgresServer;
let harness: ServerHarness;

beforeAll(async () => {
  server = cleanup.use(await startPrimary({ initdbArgs: ['--data-checksums'] }));
  await server.query('postgres', 'create database shop');
  await server.query('shop', 'create table orders (i int); insert into orders select generate_series(1, 500)');
  harness = cleanup.use(await ServerHarness.open(server));
}, 120_000);
afterAll(() => cleanup.disposeAsync());

const slots = async (): Promise<unknown[]> => await server.query('postgres', 'select from pg_replication_slots');

test('a physical backup without a stream brings its own WAL along and leaves no slot', async () => {
  const manifest = await harness.backup();
  expect(manifest.method).toBe('physical');
  expect(manifest.contents.map(({ name }) => name)).toEqual(['postgres', 'shop']);
  expect(manifest.objects.map(({ role }) => role)).toEqual(['archive', 'manifest']);
  const { logRange } = manifest;
  const stored = await harness.repository.log(ref, 'wal-backups').list();
  expect(stored).toContain(logRange?.from);
  expect(stored).toContain(logRange?.to);
  expect(await slots()).toEqual([]);
});

test('a physical backup reaches level 5: it starts, and every table can be read', async () => {
  const { backupId } = await harness.backup();
  expect(await harness.verify(5, backupId)).toMatchObject({ reached: 5, findings: [] });
});

test('single databases are refused, in a backup and in a restore', async () => {
  const context = await harness.context();
  const { backupId } = await harness.backup();
  const request = {
    scope: { kind: 'database', database: 'shop' },
    point: { kind: 'backup', backupId },
    into: { way: 'new', name: 'copy' },
    options: {},
  } as const;
  expect(await codeOf(harness.engine.plan(request, harness.source, context))).toBe('BAD_INPUT');
  expect(() => harness.engine.checkLevel(6, { method: 'physical' } as never)).toThrow('level 5');
});

test('a restore into a folder leaves a stopped server that starts with the rows of the backup', async () => {
  const { backupId } = await harness.backup();
  await server.query('shop', 'insert into orders values (501)');
  const { dataDir } = await harness.restore({ kind: 'backup', backupId });
  expect(harness.steps).toEqual([{ kind: 'postgres.make-copy', compensation: 'postgres.remove-copy' }]);
  expect(await readdir(dirname(dataDir))).toEqual(['README', 'data', 'tablespaces']);
  expect(await readFile(join(dataDir, 'postgresql.auto.conf'), 'utf8')).toContain("archive_mode = 'off'");
  await using copy = await startOnFolder(server, dataDir, ['-c', 'fsync=off']);
  expect(await copy.query('shop', 'select count(*)::int as n from orders')).toEqual([{ n: 500 }]);
  await server.query('shop', 'delete from orders where i = 501');
});

test('a backup whose WAL is gone fails level 3, and no restore is planned from it', async () => {
  await using own = await ServerHarness.open(server);
  const { backupId, logRange } = await own.backup();
  const logs = join(own.folder, 'repository/test/db-1/shop/logs/wal-backups');
  for (const name of await readdir(logs)) if (name.startsWith(String(logRange?.to))) await rm(join(logs, name));
  const verified = await own.verify(5, backupId);
  expect(verified).toMatchObject({ reached: 2, findings: [{ level: 3, code: 'WAL_SEGMENT_MISSING' }] });
  expect(await codeOf(own.plan({ kind: 'backup', backupId }))).toBe('POINT_UNREACHABLE');
});

test('a restore folder that the agent file does not name is refused', async () => {
  const { backupId } = await harness.backup();
  const request = {
    scope: { kind: 'server' },
    point: { kind: 'backup', backupId },
    into: { way: 'folder', folder: 'elsewhere' },
    options: {},
  } as const;
  expect(await codeOf(harness.engine.plan(request, harness.source, await harness.context()))).toBe('BAD_INPUT');
});

test('taking back a restore removes its folder, and only one that a restore has made', async () => {
  const { backupId } = await harness.backup();
  const { dataDir } = await harness.restore({ kind: 'backup', backupId });
  const takeBack = harness.engine.compensationOf('postgres.remove-copy');
  const copy = dirname(dataDir).split('/').at(-1) ?? '';
  await takeBack?.({ folder: 'drill', copy }, await harness.context());
  await expect(stat(dirname(dataDir))).rejects.toMatchObject({ code: 'ENOENT' });
  const outside = takeBack?.({ folder: 'drill', copy: '../repository' }, await harness.context());
  expect(await codeOf(outside ?? Promise.resolve())).toBe('CONFIG_INVALID');
});
