import { join } from 'node:path';
import { runTool } from '@lastgood/host';
import { findPostgres, type PostgresServer, SERVER_PASSWORD, startPrimary } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
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
  const load = pgbench('-c', '4', '-T', '12', '-n');
  const instants: Micros[] = [];
  await harness.base();
  for (let each = 0; each < 3; each += 1) {
    await new Promise((resolve) => setTimeout(resolve, 500 + Math.random() * 2_000));
    instants.push(await harness.now());
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
}, 180_000);
