import type { JobSpec, JobView } from '@lastgood/protocol';
import { type Direction, type PostgresServer, startPostgres, TcpFaultProxy } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { InProcessFleet } from '../../support/in-process-fleet.ts';

const backup: JobSpec = { command: 'backup', target: 'shop', method: null, contents: ['tiny'], options: {} };
const cleanup = new AsyncDisposableStack();
let fleet: InProcessFleet;
let proxy: TcpFaultProxy;
/** The bytes that had passed through the proxy when the current connection was opened. */
let before: Record<Direction, number> = { toServer: 0, toClient: 0 };

beforeAll(async () => {
  const server: PostgresServer = cleanup.use(await startPostgres());
  await server.query('postgres', 'create database tiny');
  fleet = cleanup.use(
    await InProcessFleet.open((config) => {
      config.targets = { shop: { ...config.targets['shop'], connection: server.connection } };
    }),
  );
  proxy = cleanup.use(await TcpFaultProxy.open({ port: Number(new URL(fleet.control.url).port) }));
  await fleet.write((config) => ({ ...config, control: { url: `http://127.0.0.1:${proxy.port}` } }));
  await fleet.startAgent();
  await fleet.announced();
});
afterAll(() => cleanup.disposeAsync());

const bytesPassed = (): Record<Direction, number> => ({
  toServer: proxy.bytes('toServer'),
  toClient: proxy.bytes('toClient'),
});

/** Runs a job and cuts its connection after this many more bytes. `inTime`: the cut came before the outcome was known. */
async function runCut(spec: JobSpec, direction: Direction, bytes: number): Promise<{ job: JobView; inTime: boolean }> {
  const { accepted } = proxy;
  const used = bytesPassed()[direction] - before[direction];
  proxy.cutAfter({ direction, bytes: used + bytes, by: bytes % 2 === 0 ? 'reset' : 'end' });
  const resumed = proxy
    .until((now) => now.accepted > accepted)
    .then(async () => {
      before = bytesPassed();
      await proxy.resume();
    });
  const job = await fleet.ended(await fleet.send(spec));
  const inTime = proxy.accepted > accepted;
  if (!inTime) proxy.cut();
  await resumed;
  return { job, inTime };
}
async function untilOnline(): Promise<void> {
  await fleet.until('the host to be online', async () =>
    (await fleet.admin.hosts.query({})).every((host) => host.state === 'online') ? true : undefined,
  );
}
const series = (count: number, step: number): number[] => Array.from({ length: count }, (_, n) => 1 + n * step);
/** Positions on a new connection (dial, upgrade, hello, command, report) and on an established one. */
const cuts: readonly (readonly [string, boolean, Direction, readonly number[]])[] = [
  ['new connection, to the control plane', false, 'toServer', series(8, 311)],
  ['new connection, to the agent', false, 'toClient', series(6, 173)],
  ['established connection, to the control plane', true, 'toServer', series(12, 137)],
  ['established connection, to the agent', true, 'toClient', series(10, 67)],
];

test.for(cuts)(
  'K3: a backup runs once and is reported once when the connection is cut at any message: %s',
  async ([, isEstablished, direction, positions]) => {
    const known = (await fleet.admin.backups.query({ limit: 1_000 })).length;
    const jobIds: string[] = [];
    let inTime = 0;
    for (const bytes of positions) {
      if (isEstablished) await untilOnline();
      const ran = await runCut(backup, direction, bytes);
      expect([bytes, ran.job.state, ran.job.attempt]).toEqual([bytes, 'succeeded', 1]);
      jobIds.push(ran.job.jobId);
      if (ran.inTime) inTime += 1;
    }
    expect(inTime).toBeGreaterThan(positions.length / 2);
    const backups = await fleet.admin.backups.query({ limit: 1_000 });
    expect(backups).toHaveLength(known + positions.length);
    for (const jobId of jobIds) expect(backups.filter((one) => one.jobId === jobId)).toHaveLength(1);
    expect(backups.every(({ state }) => state === 'good')).toBe(true);
  },
);

test.for(['toServer', 'toClient'] as const)(
  'K3: a rotation removes one backup when the connection is cut at any message: %s',
  async (direction) => {
    for (const bytes of series(8, direction === 'toServer' ? 191 : 59)) {
      await untilOnline();
      const kept = (await fleet.admin.backups.query({ limit: 1_000 })).length - 1;
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
      expect(await fleet.admin.backups.query({ limit: 1_000 })).toHaveLength(kept);
    }
  },
);

test('K3: after all cuts the session is stable and runs the next job', async () => {
  await untilOnline();
  const { accepted } = proxy;
  expect(await fleet.ended(await fleet.send(backup))).toMatchObject({ state: 'succeeded', attempt: 1 });
  expect(proxy.accepted).toBe(accepted);
});
