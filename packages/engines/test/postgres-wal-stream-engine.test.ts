import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type PostgresServer, startOnFolder, startPrimary } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { codeOf, ref } from './support/engine-harness.ts';
import { ServerHarness } from './support/server-harness.ts';

const cleanup = new AsyncDisposableStack();
let server: PostgresServer;
let harness: ServerHarness;
const patiently = { timeout: 30_000, interval: 200 };

beforeAll(async () => {
  const conf = 'synchronous_commit = on\nwal_keep_size = 0\nmin_wal_size = 2MB\nmax_wal_size = 8MB';
  server = cleanup.use(await startPrimary({ initdbArgs: ['--wal-segsize=1', '--data-checksums'], extraConf: conf }));
  await server.query('postgres', 'create table t (i int)');
  harness = cleanup.use(await ServerHarness.open(server, { slot: 'engine', switchSeconds: 2 }));
  harness.stream();
}, 120_000);
afterAll(() => cleanup.disposeAsync());

const insert = async (row: number): Promise<void> =>
  void (await server.query('postgres', `insert into t values (${row})`));
/** The clock of the server. */
const now = async (): Promise<string> => {
  const text = `to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
  return String((await server.query('postgres', `select ${text} as at`))[0]?.['at']);
};
const pause = async (): Promise<void> => void (await server.query('postgres', 'select pg_sleep(0.05)'));
/** Checks as the agent does until everything that was committed before `instant` is stored. */
const storedUntil = async (instant: string): Promise<void> =>
  await vi.waitFor(async () => {
    const { report } = await harness.check();
    expect(Date.parse(report.storedUntil ?? '1970-01-01T00:00:00Z')).toBeGreaterThan(Date.parse(instant));
  }, patiently);
const rowsAt = async (time: string): Promise<number[]> => {
  const { dataDir, recoveryPoint } = await harness.restore({ kind: 'time', time });
  expect(Date.parse(recoveryPoint)).toBe(Date.parse(time));
  await using copy = await startOnFolder(server, dataDir, ['-c', 'fsync=off']);
  return (await copy.query('postgres', 'select i from t order by i')).map(({ i }) => Number(i));
};

test('an instant between two commits is restored exactly, from a backup whose WAL the stream stored', async () => {
  await insert(1);
  const manifest = await harness.backup();
  expect(manifest.logRange?.stream).toBe('wal');
  expect(await harness.repository.log(ref, 'wal-backups').list()).toEqual([]);
  await insert(2);
  await pause();
  const instant = await now();
  await pause();
  await insert(3);
  await storedUntil(await now());
  const [window] = await harness.windows();
  expect(window).toMatchObject({ isOpen: true, branch: '1', backups: [manifest.backupId] });
  expect(await rowsAt(instant)).toEqual([1, 2]);
});

test('G12: an idle server is restored to an instant long after its last commit', async () => {
  await insert(4);
  await pause();
  const instant = await now();
  await storedUntil(instant);
  await vi.waitFor(async () => expect((await harness.check()).report.state).toBe('idle'), patiently);
  expect((await harness.windows()).at(-1)?.to.localeCompare(instant)).toBe(1);
  expect(await rowsAt(instant)).toEqual([1, 2, 3, 4]);
});

test('G9: instants before the first backup, in the future and not stored yet are refused', async () => {
  for (const time of ['2020-01-01T00:00:00Z', '2100-01-01T00:00:00Z'])
    expect(await codeOf(harness.plan({ kind: 'time', time }))).toBe('POINT_UNREACHABLE');
  await harness.stopStream();
  await insert(5);
  await pause();
  expect(await codeOf(harness.plan({ kind: 'time', time: await now() }))).toBe('POINT_UNREACHABLE');
  harness.stream();
});

test('latest brings back everything that is stored, and a named point its own rows', async () => {
  await server.query('postgres', "select pg_create_restore_point('before six')");
  await insert(6);
  await storedUntil(await now());
  const rowsOf = async (point: Parameters<typeof harness.restore>[0]): Promise<number> => {
    const { dataDir } = await harness.restore(point);
    await using copy = await startOnFolder(server, dataDir, ['-c', 'fsync=off']);
    return (await copy.query('postgres', 'select i from t')).length;
  };
  expect(await rowsOf({ kind: 'latest' })).toBe(6);
  expect(await rowsOf({ kind: 'name', name: 'before six' })).toBe(5);
});

test('G1: a removed segment is a finding with its span, and no recovery window spans it', async () => {
  const before = await now();
  await insert(7);
  await storedUntil(await now());
  for (const row of [8, 9]) {
    await insert(row);
    await server.query('postgres', 'select pg_switch_wal()');
  }
  await storedUntil(await now());
  const logs = join(harness.folder, 'repository/test/db-1/shop/logs/wal');
  const segments = await harness.repository.log(ref, 'wal').list();
  const removed = segments.at(-2) ?? '';
  for (const name of await readdir(logs)) if (name.startsWith(removed)) await rm(join(logs, name));
  const { findings, report } = await harness.check();
  expect(findings).toContainEqual(expect.objectContaining({ code: 'WAL_GAP' }));
  expect(report.gaps).toHaveLength(1);
  expect(await codeOf(harness.plan({ kind: 'time', time: await now() }))).toBe('POINT_UNREACHABLE');
  await harness.backup();
  const instant = await now();
  await insert(10);
  await storedUntil(await now());
  const windows = await harness.windows();
  expect(windows.filter(({ from, to }) => from < before && to > instant)).toEqual([]);
  expect(windows).toHaveLength(2);
  expect((await harness.check()).findings.map(({ code }) => code)).toEqual(['WAL_GAP_PASSED']);
});

test('G7: a slot whose WAL the server has removed is made anew, and the gap is a finding', async () => {
  await harness.stopStream();
  await server.query('postgres', "alter system set max_slot_wal_keep_size = '1MB'");
  await server.query('postgres', 'select pg_reload_conf()');
  await vi.waitFor(async () => {
    await server.query('postgres', 'insert into t select i from generate_series(1, 20000) as i');
    await server.query('postgres', 'checkpoint');
    const [slot] = await server.query(
      'postgres',
      "select wal_status from pg_replication_slots where slot_name = 'engine'",
    );
    expect(slot?.['wal_status']).toBe('lost');
  }, patiently);
  expect((await harness.check()).findings).toContainEqual(expect.objectContaining({ code: 'WAL_SLOT_LOST' }));
  await server.query('postgres', "alter system set max_slot_wal_keep_size = '1GB'");
  await server.query('postgres', 'select pg_reload_conf()');
  harness.stream();
  await vi.waitFor(async () => {
    await insert(11);
    expect((await harness.check()).report.gaps).toHaveLength(2);
  }, patiently);
  expect(harness.notes).toContainEqual(expect.stringContaining('no longer has the WAL'));
});

test('M16: a slot without a cap is refused, and not created', async () => {
  await server.query('postgres', 'alter system set max_slot_wal_keep_size = -1');
  await server.query('postgres', 'select pg_reload_conf()');
  await using own = await ServerHarness.open(server, { slot: 'uncapped' });
  own.stream();
  expect(await codeOf(own.streamEnded())).toBe('STREAM_STOPPED');
  expect((await own.check()).findings.map(({ code }) => code)).toContain('WAL_SLOT_UNCAPPED');
  expect(await server.query('postgres', "select from pg_replication_slots where slot_name = 'uncapped'")).toEqual([]);
});
