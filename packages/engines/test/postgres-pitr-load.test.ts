import { join } from 'node:path';
import { runTool } from '@lastgood/host';
import { findPostgres, type PostgresServer, SERVER_PASSWORD, startPrimary } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Session } from '../src/postgres/session.ts';
import {
  chooseCanaryTarget,
  createCanary,
  dropCanary,
  newestBeat,
  pruneBeats,
  writeBeat,
} from '../src/postgres/wal/canary.ts';
import { formatInstant, type Micros } from '../src/postgres/wal/instant.ts';
import { ask, PhysicalHarness } from './support/physical-harness.ts';

const cleanup = new AsyncDisposableStack();
let server: PostgresServer;
let harness: PhysicalHarness;

beforeAll(async () => {
  server = cleanup.use(await startPrimary({ initdbArgs: ['--data-checksums'] }));
  harness = cleanup.use(await PhysicalHarness.open(server));
}, 120_000);
afterAll(() => cleanup.disposeAsync());

const pgbench = async (...args: string[]): Promise<void> => {
  const folder = findPostgres();
  const login = ['-h', '127.0.0.1', '-p', String(server.port), '-U', server.user];
  await runTool({
    file: folder.startsWith('/usr/lib/postgresql') ? join(folder, 'pgbench') : 'pgbench',
    args: [...login, ...args, 'postgres'],
    env: { PGPASSWORD: SERVER_PASSWORD },
    signal: new AbortController().signal,
    timeoutMs: 120_000,
  });
};
const STATE = 'select count(*)::int as n, coalesce(sum(delta), 0)::text as sum from public.pgbench_history';

test('under load, three random instants come back exactly as the commit timestamps have them', async () => {
  await pgbench('-i', '-s', '2', '-q');
  await harness.receive();
  await using session = await Session.open(harness.connection, 'postgres', new AbortController().signal);
  await createCanary(session);
  const load = pgbench('-c', '4', '-T', '12', '-n');
  const instants: Micros[] = [];
  const { finishedAt } = await harness.base();
  const beats = [await writeBeat(session)];
  for (let each = 0; each < 3; each += 1) {
    await new Promise((resolve) => setTimeout(resolve, 500 + Math.random() * 2_000));
    instants.push(await harness.now());
    beats.push(await writeBeat(session));
  }
  await load;
  // A later transaction shows that nothing is missing up to the last instant.
  await server.query('postgres', 'create table after_load ()');
  await harness.archived();
  for (const at of instants) {
    const [truth] = await server.query('postgres', `${STATE} where pg_xact_commit_timestamp(xmin) <= $1`, [
      formatInstant(at),
    ]);
    const plan = await harness.plan({ kind: 'time', at });
    await using recovered = await harness.recover(plan);
    expect(await ask(recovered, 'postgres', STATE)).toEqual([truth]);
    expect(Number(truth?.['n'])).toBeGreaterThan(100);
    expect(recovered.point.lastXactAt).toBeLessThanOrEqual(at);
  }
  // L6: between two beats, the one before is there and the one after is not.
  const target = chooseCanaryTarget(beats, { from: finishedAt, to: beats.at(-1)?.afterCommit ?? 0n }, 0.99);
  await using recovered = await harness.recover(await harness.plan({ kind: 'time', at: target?.at ?? 0n }));
  await using copy = await Session.open(recovered.connection, 'postgres', new AbortController().signal);
  expect(await newestBeat(copy)).toBe(target?.expectedId);
  expect(target?.expectedId).toBe(3n);
}, 180_000);

test('the canary leaves nothing, and its choice needs two beats with time between them', async () => {
  await using session = await Session.open(harness.connection, 'postgres', new AbortController().signal);
  await createCanary(session);
  await pruneBeats(session);
  await dropCanary(session);
  expect(await server.query('postgres', "select from pg_namespace where nspname like 'lastgood%'")).toEqual([]);
  const beat = (id: bigint, from: bigint, to: bigint) => ({ id, beforeCommit: from, afterCommit: to, lsn: 0n });
  const beats = [beat(3n, 300n, 310n), beat(1n, 100n, 110n), beat(2n, 200n, 210n), beat(4n, 305n, 320n)];
  expect(chooseCanaryTarget(beats, { from: 0n, to: 1_000n }, 0)).toEqual({ at: 155n, expectedId: 1n });
  expect(chooseCanaryTarget(beats, { from: 0n, to: 1_000n }, 0.99)).toEqual({ at: 255n, expectedId: 2n });
  expect(chooseCanaryTarget(beats, { from: 150n, to: 1_000n }, 0)).toEqual({ at: 255n, expectedId: 2n });
  expect(chooseCanaryTarget(beats, { from: 150n, to: 305n }, 0)).toBeNull();
  expect(chooseCanaryTarget(beats.slice(0, 1), { from: 0n, to: 1_000n }, 0)).toBeNull();
});
