import { join } from 'node:path';
import { runTool } from '@lastgood/host';
import { findOtherPostgres, findPostgres, type PostgresServer, SERVER_PASSWORD, startPrimary } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { postgresConnectionSchema } from '../src/postgres/connection-schema.ts';
import { Session } from '../src/postgres/session.ts';
import {
  chooseCanaryTarget,
  createCanary,
  dropCanary,
  newestBeat,
  pruneBeats,
  writeBeat,
} from '../src/postgres/wal/canary.ts';
import { formatInstant } from '../src/postgres/wal/instant.ts';
import { ask, PhysicalHarness } from './support/physical-harness.ts';

const never = new AbortController().signal;

async function pgbench(server: PostgresServer, ...args: string[]): Promise<void> {
  const folder = findPostgres();
  const login = ['-h', '127.0.0.1', '-p', String(server.port), '-U', server.user];
  await runTool({
    file: folder.startsWith('/usr/lib/postgresql') ? join(folder, 'pgbench') : 'pgbench',
    args: [...login, ...args, 'postgres'],
    env: { PGPASSWORD: SERVER_PASSWORD },
    signal: never,
    timeoutMs: 120_000,
  });
}
const STATE = 'select count(*)::int as n, coalesce(sum(delta), 0)::text as sum from public.pgbench_history';

test.for([
  ['PostgreSQL of this machine', findPostgres(), 10],
  ['PostgreSQL 18', findOtherPostgres(18), 3],
] as const)(
  'under load, random instants come back exactly as the commit timestamps have them: %s',
  { timeout: 240_000 },
  async ([, binDir, count], { skip }) => {
    if (binDir === null) return skip('its programs are not on this machine');
    await using server = await startPrimary({ binDir, initdbArgs: ['--data-checksums'] });
    await using harness = await PhysicalHarness.open(server);
    await pgbench(server, '-i', '-s', '2', '-q');
    await harness.receive();
    await using session = await Session.open(harness.connection, 'postgres', never);
    await createCanary(session);
    const load = pgbench(server, '-c', '4', '-t', '1000', '-n');
    const { finishedAt } = await harness.base();
    const beats = [await writeBeat(session)];
    for (let each = 0; each < 3; each += 1) {
      await session.rows('select pg_sleep(1)');
      beats.push(await writeBeat(session));
    }
    await load;
    const end = await harness.now();
    // A later transaction shows that nothing is missing up to the last instant.
    await server.query('postgres', 'create table after_load ()');
    await harness.archived();
    for (let each = 0; each < count; each += 1) {
      const at = finishedAt + BigInt(Math.floor(Math.random() * Number(end - finishedAt)));
      const [truth] = await server.query('postgres', `${STATE} where pg_xact_commit_timestamp(xmin) <= $1`, [
        formatInstant(at),
      ]);
      await using recovered = await harness.recover(await harness.plan({ kind: 'time', at }));
      expect(await ask(recovered, 'postgres', STATE), formatInstant(at)).toEqual([truth]);
      expect(recovered.point.lastXactAt ?? 0n).toBeLessThanOrEqual(at);
    }
    expect((await server.query('postgres', STATE))[0]).toMatchObject({ n: 4000 });
    // L6: between two beats, the one before is there and the one after is not.
    const target = chooseCanaryTarget(beats, { from: finishedAt, to: beats.at(-1)?.afterCommit ?? 0n }, 0.99);
    await using recovered = await harness.recover(await harness.plan({ kind: 'time', at: target?.at ?? 0n }));
    await using copy = await Session.open(recovered.connection, 'postgres', never);
    expect(await newestBeat(copy)).toBe(target?.expectedId);
    expect(target?.expectedId).toBe(3n);
  },
);

test('the canary leaves nothing, and its choice needs two beats with time between them', async () => {
  await using server = await startPrimary();
  const connection = postgresConnectionSchema.parse(server.connection);
  await using session = await Session.open(connection, 'postgres', never);
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
