import type { JobSpec, JobView } from '@lastgood/protocol';
import { type Direction, type PostgresServer, startPostgres, TcpFaultProxy } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { InProcessFleet } from '../../support/in-process-fleet.ts';

const backup: JobSpec = { command: 'backup', target: 'shop', databases: ['tiny'], digests: false };
const cleanup = new AsyncDisposableStack();
let both: InProcessFleet;
let proxy: TcpFaultProxy;
/** What had passed through the proxy when the connection of now was opened. */
let before: Record<Direction, number> = { toServer: 0, toClient: 0 };

beforeAll(async () => {
  const server: PostgresServer = cleanup.use(await startPostgres());
  await server.query('postgres', 'create database tiny');
  both = cleanup.use(
    await InProcessFleet.open((config) => {
      config.targets = { shop: { ...config.targets['shop'], connection: server.connection } };
    }),
  );
  proxy = cleanup.use(await TcpFaultProxy.open({ port: Number(new URL(both.control.url).port) }));
  await both.write((config) => ({ ...config, control: { url: `http://127.0.0.1:${proxy.port}` } }));
  await both.startAgent();
  await both.announced();
});
afterAll(() => cleanup.disposeAsync());

const passed = (): Record<Direction, number> => ({
  toServer: proxy.bytes('toServer'),
  toClient: proxy.bytes('toClient'),
});

/** Runs a job while its connection is cut after so many more bytes; tells whether that was before its end was known. */
async function runCut(spec: JobSpec, direction: Direction, bytes: number): Promise<{ job: JobView; inTime: boolean }> {
  const { accepted } = proxy;
  const gone = passed()[direction] - before[direction];
  proxy.cutAfter({ direction, bytes: gone + bytes, by: bytes % 2 === 0 ? 'reset' : 'end' });
  const back = proxy
    .until((now) => now.accepted > accepted)
    .then(async () => {
      before = passed();
      await proxy.resume();
    });
  const job = await both.ended(await both.send(spec));
  const inTime = proxy.accepted > accepted;
  if (!inTime) proxy.cut();
  await back;
  return { job, inTime };
}
async function untilOnline(): Promise<void> {
  await both.until('the host to be online', async () =>
    (await both.admin.hosts.query({})).every((host) => host.state === 'online') ? true : undefined,
  );
}
const series = (count: number, step: number): number[] => Array.from({ length: count }, (_, n) => 1 + n * step);
/** From the first byte of a dial, over upgrade, hello and command, to the report; and around a job on a connection that stands. */
const cuts: readonly (readonly [string, boolean, Direction, readonly number[]])[] = [
  ['a connection that begins, towards the control plane', false, 'toServer', series(8, 311)],
  ['a connection that begins, towards the agent', false, 'toClient', series(6, 173)],
  ['a connection that stands, towards the control plane', true, 'toServer', series(12, 137)],
  ['a connection that stands, towards the agent', true, 'toClient', series(10, 67)],
];

test.for(cuts)(
  'K3: cut at every message, a backup is made and told once: %s',
  async ([, stands, direction, places]) => {
    const known = (await both.admin.backups.query({ limit: 1_000 })).length;
    const made: string[] = [];
    let inTime = 0;
    for (const bytes of places) {
      if (stands) await untilOnline();
      const ran = await runCut(backup, direction, bytes);
      expect([bytes, ran.job.state, ran.job.attempt]).toEqual([bytes, 'succeeded', 1]);
      made.push(ran.job.jobId);
      if (ran.inTime) inTime += 1;
    }
    expect(inTime).toBeGreaterThan(places.length / 2);
    const backups = await both.admin.backups.query({ limit: 1_000 });
    expect(backups).toHaveLength(known + places.length);
    for (const jobId of made) expect(backups.filter((one) => one.jobId === jobId)).toHaveLength(1);
    expect(backups.every(({ state }) => state === 'good')).toBe(true);
  },
);

test.for(['toServer', 'toClient'] as const)(
  'K3: cut at every message, a rotation removes once: %s',
  async (direction) => {
    for (const bytes of series(8, direction === 'toServer' ? 191 : 59)) {
      await untilOnline();
      const kept = (await both.admin.backups.query({ limit: 1_000 })).length - 1;
      const spec: JobSpec = {
        command: 'rotate',
        target: 'shop',
        retention: { keepLast: kept, minimum: 1 },
        holds: [],
        dryRun: false,
      };
      const { job } = await runCut(spec, direction, bytes);
      expect([bytes, job.state, job.result]).toEqual([
        bytes,
        'succeeded',
        expect.objectContaining({ removedCount: 1 }),
      ]);
      expect(await both.admin.backups.query({ limit: 1_000 })).toHaveLength(kept);
    }
  },
);

test('K3: after all the cuts the session stands, and what comes next is done', async () => {
  await untilOnline();
  const { accepted } = proxy;
  expect(await both.ended(await both.send(backup))).toMatchObject({ state: 'succeeded', attempt: 1 });
  expect(proxy.accepted).toBe(accepted);
});
