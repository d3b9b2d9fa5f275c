import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { captureTool } from '@lastgood/host';
import { type PostgresServer, startOnFolder, waitFor } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { commandLine, type Ran } from '../support/command-line.ts';
import type { Fleet } from '../support/fleet.ts';
import { startOrdersPrimary, startStreamingFleet } from '../support/streamed-server.ts';

let server: PostgresServer;
let fleet: Fleet;
let restores: string;
let lastgood: (...args: string[]) => Promise<Ran>;
const cleanup = new AsyncDisposableStack();
const forever = new AbortController().signal;

beforeAll(async () => {
  server = cleanup.use(await startOrdersPrimary());
  ({ fleet, restores } = await startStreamingFleet(server, cleanup));
  lastgood = commandLine(fleet);
}, 120_000);
afterAll(() => cleanup.disposeAsync(), 60_000);

let nextId = 1;
/** Clients that insert rows in transactions of their own until they are stopped. */
function startWriting(clients: number): { stop(): Promise<void> } {
  const stop = new AbortController();
  const write = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      const id = nextId;
      nextId += 1;
      await server.query('shop', 'insert into orders values ($1, repeat($2, 50))', [id, `item ${id}`]);
    }
  };
  const writing = Promise.all(Array.from({ length: clients }, write));
  return {
    stop: async () => {
      stop.abort();
      await writing;
    },
  };
}
const now = async (): Promise<string> => {
  const text = `to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
  return String((await server.query('postgres', `select ${text} as at`))[0]?.['at']);
};
/** The rows that were committed up to an instant, by the server's own account. */
const committedAt = async (instant: string): Promise<unknown[]> =>
  await server.query(
    'shop',
    'select id, item from orders where pg_xact_commit_timestamp(xmin) <= $1::timestamptz order by id',
    [instant],
  );
const target = async () => (await fleet.client.targets.query({}))[0];
/** Waits until the fleet reports that an instant can be restored. */
const untilRestorable = async (instant: string): Promise<void> => {
  await waitFor(`a recovery point after ${instant}`, 90_000, forever, async () => {
    const [status] = await fleet.client.status.query({});
    const shop = status?.databases.find(({ database }) => database === 'shop');
    return Date.parse(shop?.recoveryPoint?.at ?? '1970-01-01') > Date.parse(instant) ? true : undefined;
  });
};
/** Restores by the command line, starts the copy, and returns its rows. */
async function rowsOfRestore(...choice: string[]): Promise<unknown[]> {
  const before = new Set(await readdir(restores));
  const ran = await lastgood('restore', 'shop', ...choice, '--to-folder', 'drill');
  expect(ran.status, ran.stderr).toBe(0);
  const copy = (await readdir(restores)).find((name) => !before.has(name)) ?? '';
  await using started = await startOnFolder(server, join(restores, copy, 'data'), ['-c', 'fsync=off']);
  return await started.query('shop', 'select id, item from orders order by id');
}

test('under write load, an instant is restored exactly, and status shows the stream as the recovery point', async () => {
  const backup = await lastgood('backup', 'shop', '--method', 'physical');
  expect(backup.status, backup.stderr).toBe(0);
  const writing = startWriting(3);
  await waitFor('rows', 30_000, forever, async () => (nextId > 60 ? true : undefined));
  const instant = await now();
  const count = nextId;
  await waitFor('more rows', 30_000, forever, async () => (nextId > count + 60 ? true : undefined));
  await writing.stop();
  await untilRestorable(instant);
  expect(await rowsOfRestore('--at', instant)).toEqual(await committedAt(instant));
  expect((await target())?.stream).toMatchObject({ id: 'wal', gaps: [] });
}, 180_000);

test('a physical backup passes a restore test at level 5 through the fleet', async () => {
  const verified = await lastgood('verify', 'shop', 'latest', '--level', '5');
  expect(verified.status, verified.stdout + verified.stderr).toBe(0);
}, 120_000);

test('G6, I5: an agent that is killed while it streams loses nothing that it has acknowledged', async () => {
  const writing = startWriting(3);
  const count = nextId;
  await waitFor('rows', 30_000, forever, async () => (nextId > count + 100 ? true : undefined));
  await fleet.killAgent();
  const [slot] = await server.query(
    'postgres',
    "select pg_walfile_name(restart_lsn) as name from pg_replication_slots where slot_name = 'lastgood'",
  );
  const acknowledged = String(slot?.['name']);
  const logs = join(fleet.folder, 'repository/test/db-1/shop/logs/wal');
  const stored = (await readdir(logs))
    .filter((name) => /^[0-9A-F]{24}\.json$/.test(name))
    .map((name) => name.slice(0, 24))
    .sort();
  // Everything before the segment that the slot still keeps is stored.
  expect((stored.at(-1) ?? '') >= acknowledged.slice(0, 23)).toBe(true);
  const missed = nextId;
  await waitFor('rows without an agent', 30_000, forever, async () => (nextId > missed + 50 ? true : undefined));
  await fleet.startAgent();
  await fleet.untilOnline();
  await writing.stop();
  const instant = await now();
  await untilRestorable(instant);
  expect((await target())?.stream?.gaps).toEqual([]);
  expect(await rowsOfRestore('--at', instant)).toEqual(await committedAt(instant));
}, 180_000);

test('G1: a segment that is missing is a finding within a minute, and no recovery window spans it', async () => {
  const before = await now();
  for (let round = 0; round < 4; round += 1) {
    nextId += 1;
    await server.query('shop', 'insert into orders values ($1)', [nextId]);
    await server.query('postgres', 'select pg_switch_wal()');
  }
  const after = await now();
  await untilRestorable(before);
  await waitFor('the segments to be stored', 60_000, forever, async () =>
    Date.parse((await target())?.stream?.storedUntil ?? '1970-01-01') > Date.parse(after) ? true : undefined,
  );
  const logs = join(fleet.folder, 'repository/test/db-1/shop/logs/wal');
  const segments = (await readdir(logs)).filter((name) => name.endsWith('.json')).sort();
  const removed = segments.at(-3)?.slice(0, 24) ?? '';
  for (const name of await readdir(logs)) if (name.startsWith(removed)) await rm(join(logs, name));
  const plantedAt = performance.now();
  const found = await waitFor('the finding', 60_000, forever, async () =>
    (await target())?.findings.find(({ code }) => code === 'WAL_GAP'),
  );
  expect(performance.now() - plantedAt).toBeLessThan(60_000);
  expect(found).toMatchObject({ severity: 'error' });
  const refused = await lastgood('restore', 'shop', '--at', after, '--to-folder', 'drill');
  expect(refused.stderr).toContain('POINT_UNREACHABLE');
  expect((await lastgood('backup', 'shop', '--method', 'physical')).status).toBe(0);
  await waitFor('a window behind the gap', 60_000, forever, async () =>
    (await target())?.windows?.some(({ from }) => from > after) === true ? true : undefined,
  );
  const windows = (await target())?.windows ?? [];
  expect(windows.filter(({ from, to }) => from <= before && to >= after)).toEqual([]);
}, 240_000);

test('an instant inside the gap is refused with the last instant before it and the first after it', async () => {
  const [first, second] = (await target())?.windows ?? [];
  if (first === undefined || second === undefined) throw new TypeError('there are no two windows');
  const between = new Date((Date.parse(first.to) + Date.parse(second.from)) / 2).toISOString();
  const client = fleet.client;
  const request = {
    scope: { kind: 'server' },
    point: { kind: 'time', time: between },
    into: { way: 'folder', folder: 'drill' },
    options: {},
  } as const;
  const job = await fleet.run({ command: 'plan', target: 'shop', request });
  expect(job.error).toMatchObject({ code: 'POINT_UNREACHABLE' });
  expect(job.error?.message).toMatch(/WAL is missing from .* the last instant before is .* the first after it is/);
  expect(await client.jobs.query({ limit: 1 })).toHaveLength(1);
});

test('F2: an agent that is killed during a restore leaves no folder and no server, and reports it as interrupted', async () => {
  const before = new Set(await readdir(restores));
  const added = async (): Promise<string[]> => (await readdir(restores)).filter((name) => !before.has(name));
  const request = {
    scope: { kind: 'server' },
    point: { kind: 'latest' },
    into: { way: 'folder', folder: 'drill' },
    options: {},
  } as const;
  const planned = await fleet.run({ command: 'plan', target: 'shop', request });
  if (planned.result?.command !== 'plan') throw new TypeError('there is no plan');
  const planHash = planned.result.plan.hash;
  const jobId = await fleet.send({ command: 'restore', target: 'shop', request, planHash });
  await waitFor('the restore to start a server', 60_000, forever, async () => {
    const [name = ''] = await added();
    const files: string[] = await readdir(join(restores, name, 'data')).catch(() => []);
    return name !== '' && files.includes('postmaster.pid') ? true : undefined;
  });
  await fleet.killAgent();
  await fleet.startAgent();
  expect(await fleet.ended(jobId)).toMatchObject({ state: 'failed', error: { code: 'JOB_INTERRUPTED' } });
  await waitFor('the folder to be removed', 60_000, forever, async () =>
    (await added()).length === 0 ? true : undefined,
  );
  const servers = await captureTool({
    file: 'pgrep',
    args: ['-f', restores],
    signal: forever,
    timeoutMs: 10_000,
    acceptedExitCodes: [1],
  });
  expect(servers.stdout).toBe('');
}, 180_000);
