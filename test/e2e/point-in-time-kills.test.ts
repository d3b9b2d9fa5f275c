import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type FolderServer, type PostgresServer, startOnFolder, waitFor } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { commandLine, type Ran } from '../support/command-line.ts';
import type { Fleet } from '../support/fleet.ts';
import { startOrdersPrimary, startStreamingFleet } from '../support/streamed-server.ts';

const KILLS = 12;
/** `npm run soak` sets it: rounds of kills and a restore, as long as that. */
const SOAK_MS = Number(process.env['LASTGOOD_SOAK_MINUTES'] ?? 0) * 60_000;
const SEED = Number(process.env['LASTGOOD_TEST_SEED'] ?? 1);
const forever = new AbortController().signal;
const VICTIMS = ['agent', 'server', 'control plane'] as const;

const cleanup = new AsyncDisposableStack();
let primary: PostgresServer;
let server: FolderServer;
let fleet: Fleet;
let restores: string;
let lastgood: (...args: string[]) => Promise<Ran>;

beforeAll(async () => {
  primary = cleanup.use(await startOrdersPrimary());
  // From here on it can be killed and started again at the same address.
  await primary.stop();
  await startServer();
  cleanup.defer(async () => await server.stop());
  ({ fleet, restores } = await startStreamingFleet(primary, cleanup));
  lastgood = commandLine(fleet);
  const backup = await lastgood('backup', 'shop', '--method', 'physical');
  expect(backup.status, backup.stderr).toBe(0);
}, 180_000);
afterAll(() => cleanup.disposeAsync(), 60_000);

/** Tries again while processes of a killed server still hold its memory. */
async function startServer(): Promise<void> {
  server = await waitFor('the server to start', 60_000, forever, () =>
    startOnFolder(primary, primary.dataDir, [], primary.port).catch(() => undefined),
  );
}

/** Integers below `limit` that follow from the seed. */
function randomIntegers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

let nextId = 1;
/** The rows whose commit the server has acknowledged to a client. */
const acknowledged = new Set<number>();

/** Clients that insert rows until they are stopped, and go on after the server was away. */
function startWriting(clients: number): { stop(): Promise<void> } {
  const stop = new AbortController();
  const write = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      const id = nextId;
      nextId += 1;
      await server.query('shop', 'insert into orders values ($1, repeat($2, 50))', [id, `item ${id}`]).then(
        () => acknowledged.add(id),
        () => undefined,
      );
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

async function killAndStart(victim: (typeof VICTIMS)[number]): Promise<void> {
  switch (victim) {
    case 'agent':
      await fleet.killAgent();
      return await fleet.startAgent();
    case 'server':
      await server.kill();
      return await startServer();
    case 'control plane':
      await fleet.killControl();
      return await fleet.startControl();
  }
}

async function restoreEverything(): Promise<void> {
  const text = `to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
  const instant = String((await server.query('postgres', `select ${text} as at`))[0]?.['at']);
  await waitFor(`a recovery point after ${instant}`, 120_000, forever, async () => {
    const [status] = await fleet.client.status.query({});
    const shop = status?.databases.find(({ database }) => database === 'shop');
    return Date.parse(shop?.recoveryPoint?.at ?? '1970-01-01') > Date.parse(instant) ? true : undefined;
  });
  expect((await fleet.client.targets.query({}))[0]?.stream?.gaps).toEqual([]);
  const ran = await lastgood('restore', 'shop', '--at', instant, '--to-folder', 'drill');
  expect(ran.status, ran.stderr).toBe(0);
  const [copy = ''] = await readdir(restores);
  const rows = 'select id from orders order by id';
  const present = await server.query('shop', rows);
  await (async () => {
    await using started = await startOnFolder(primary, join(restores, copy, 'data'), ['-c', 'fsync=off']);
    expect(await started.query('shop', rows)).toEqual(present);
  })();
  const found = new Set(present.map(({ id }) => Number(id)));
  expect([...acknowledged].filter((id) => !found.has(id))).toEqual([]);
  await rm(join(restores, copy), { recursive: true });
}

test(`G5, G6: after ${KILLS} kills of agent, server and control plane under load, every acknowledged row is restored`, {
  timeout: SOAK_MS + 600_000,
}, async () => {
  const random = randomIntegers(SEED);
  const end = performance.now() + SOAK_MS;
  do {
    const writing = startWriting(3);
    for (let kill = 0; kill < KILLS; kill += 1) {
      const count = acknowledged.size + 5 + random(80);
      await waitFor('rows', 60_000, forever, async () => (acknowledged.size > count ? true : undefined));
      await killAndStart(VICTIMS[kill < VICTIMS.length ? kill : random(VICTIMS.length)] ?? 'agent');
    }
    await writing.stop();
    await restoreEverything();
  } while (performance.now() < end);
});
