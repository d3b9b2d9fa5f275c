import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { OPEN_LIMITS, type PostgresServer, seedShop, startPostgres, temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { commandLine, type Ran } from '../support/command-line.ts';
import { Fleet } from '../support/fleet.ts';

const cleanup = new AsyncDisposableStack();
let server: PostgresServer;
let fleet: Fleet;
let lastgood: (...args: string[]) => Promise<Ran>;

beforeAll(async () => {
  server = cleanup.use(await startPostgres());
  await seedShop(server, 'shop', { rows: 100 });
  await server.query('postgres', 'create database tmp_import');
  const folder = cleanup.use(await temporaryFolder());
  const allow = { restore: ['new', 'swap'], rotate: true, dropSetAside: true, ...OPEN_LIMITS };
  fleet = cleanup.use(
    await Fleet.start(folder.path, server.connection, {
      allow,
      settings: { exclude: ['tmp_*'] },
    }),
  );
  lastgood = commandLine(fleet);
});
afterAll(() => cleanup.disposeAsync());

async function json(...args: string[]): Promise<Record<string, unknown>> {
  const ran = await lastgood('--json', ...args);
  if (ran.stdout === '') throw new Error(ran.stderr);
  return JSON.parse(ran.stdout);
}
async function backup(...args: string[]): Promise<{ backupId: string; databases: string[] }> {
  const { job } = await json('backup', 'shop', ...args);
  const { backup: taken } = (job as { result: { backup: { backupId: string; contents: { name: string }[] } } }).result;
  return { backupId: taken.backupId, databases: taken.contents.map(({ name }) => name) };
}
/** Waits for the next inventory: until what a command prints as JSON contains a text. */
const untilListed = (text: string, ...args: string[]): Promise<void> =>
  expect.poll(async () => JSON.stringify(await json(...args)), { timeout: 120_000 }).toContain(text);

test('op-2.4: a backup leaves out what the agent file excludes, unless it is named, and the status does not judge it', async () => {
  const { databases } = await backup();
  expect(databases).toContain('shop');
  expect(databases).not.toContain('tmp_import');
  expect((await backup('--database', 'tmp_import')).databases).toEqual(['tmp_import']);
  expect((await lastgood('status')).stdout).toMatch(/tmp_import +excluded/);
  expect((await lastgood('verify', 'shop', '--level', '4')).status).toBe(0);
});

test('op-2.4: a set-aside database is in no backup and in no row of the status, is listed, and is dropped with consent', async () => {
  expect((await lastgood('restore', 'shop', '--database', 'shop', '--swap', '--confirm', 'shop')).status).toBe(0);
  const [{ name = '' } = {}] = await server.query(
    'postgres',
    "select datname as name from pg_database where datname ~ '^shop__lastgood_old'",
  );
  await untilListed(String(name), 'set-aside', 'list');
  const listed = await lastgood('set-aside', 'list');
  expect(listed.stdout).toMatch(new RegExp(`test/db-1/shop +${String(name)} +shop +`));
  expect((await json('status', 'shop'))['targets']).toMatchObject([
    { databases: expect.not.arrayContaining([expect.objectContaining({ database: name })]) },
  ]);
  const drop = (...args: string[]) => lastgood('set-aside', 'drop', 'shop', ...args);
  expect((await drop(String(name))).status).toBe(3);
  expect((await drop('shop', '--confirm', 'shop')).status).toBe(2);
  const dropped = await drop(String(name), '--confirm', String(name));
  expect([dropped.status, dropped.stdout]).toEqual([0, expect.stringContaining(`dropped "${String(name)}"`)]);
  const left = await server.query('postgres', 'select datname from pg_database where datname = $1', [name]);
  expect(left).toEqual([]);
  await untilListed('"setAside":[]', 'set-aside', 'list');
});

test('op-2.9: a held backup outlives the control plane and the rotations of a new one', async () => {
  const { backupId } = await backup();
  const held = await lastgood('hold', backupId, '--reason', 'before the migration');
  expect([held.status, held.stdout]).toEqual([0, expect.stringContaining('is held (before the migration)')]);
  const holds = join(fleet.folder, 'repository', 'test', 'db-1', 'shop', 'holds');
  expect(await readdir(holds)).toEqual([`${backupId}.json`]);
  expect(JSON.parse(await readFile(join(holds, `${backupId}.json`), 'utf8'))).toMatchObject({
    ...{ reason: 'before the migration', by: 'admin' },
  });
  await fleet.killControl();
  await rm(join(fleet.folder, 'control'), { recursive: true });
  await fleet.startControl();
  await fleet.enroll();
  await fleet.untilOnline();
  await untilListed('"holdState":"held"', 'backups', 'list');
  for (let count = 0; count < 2; count += 1) await backup();
  expect((await lastgood('rotate', 'shop', '--keep-last', '1', '--confirm', 'shop')).status).toBe(0);
  const left = await json('backups', 'list', 'shop');
  expect(JSON.stringify(left)).toContain(backupId);
  const released = await lastgood('release', backupId);
  expect([released.status, released.stdout]).toEqual([0, expect.stringContaining('is no longer held')]);
  expect(await readdir(holds).catch(() => [])).toEqual([]);
});

test('op-3.1: backups find names the newest backup that still has a dropped table, and backups ls lists its tables', async () => {
  await server.query('shop', 'create table lost_table as select generate_series(1, 7) as id');
  const { backupId } = await backup('--database', 'shop');
  await server.query('shop', 'drop table lost_table');
  const later = await backup('--database', 'shop');
  const found = await lastgood('backups', 'find', 'shop', 'lost_table');
  expect(found).toMatchObject({ status: 0, stdout: expect.stringMatching(/shop +public\.lost_table +table +7/) });
  expect(JSON.stringify(await json('backups', 'find', 'shop', 'public.lost_*'))).toContain(backupId);
  expect((await lastgood('backups', 'ls', later.backupId)).stdout).not.toContain('lost_table');
  expect((await lastgood('backups', 'ls', later.backupId)).stdout).toContain('public.');
  expect((await lastgood('backups', 'ls', backupId, '--name', 'lost_table')).stdout).toContain('public.lost_table');
  expect((await lastgood('backups', 'find', 'shop', 'never_there')).status).toBe(4);
});
