import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startPostgres, waitFor } from '@lastgood/testkit';
import { Fleet } from '../test/support/fleet.ts';
import { memoryOf } from '../test/support/process-memory.ts';
import { report } from './report.ts';

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(0);
const forever = new AbortController().signal;
const folder = await mkdtemp(join(tmpdir(), 'lastgood-bench-'));
await using cleanup = new AsyncDisposableStack();
cleanup.defer(() => rm(folder, { recursive: true, force: true }));
const server = cleanup.use(await startPostgres({ extraConf: 'max_wal_size = 8GB\nautovacuum = off\n' }));

async function grow(gigabytes: number): Promise<void> {
  await server.query('postgres', 'drop database if exists bench');
  await server.query('postgres', 'create database bench');
  await server.query(
    'bench',
    `create table events as select i as id, md5(i::text) || md5((i * 7)::text) as a, md5((i / 3)::text) as b, now() as at from generate_series(1, ${Math.round(gigabytes * 7_000_000)}) i`,
  );
}

const fleet = cleanup.use(await Fleet.start(folder, server.connection, { builtAgent: true }));
const untilHostIs = (state: string): Promise<boolean> =>
  waitFor(`the host to be ${state}`, 60_000, forever, async () =>
    (await fleet.client.hosts.query({}))[0]?.state === state ? true : undefined,
  );
await fleet.killAgent();
await untilHostIs('offline');
const start = performance.now();
await fleet.startAgent();
await untilHostIs('online');
const startSeconds = (performance.now() - start) / 1000;
/** What a start leaves behind is collected by then. */
const SETTLE_MS = 8_000;
await delay(SETTLE_MS);
const rest = await memoryOf(fleet.agentPid);
const rows: string[][] = [];
for (const gigabytes of [0.2, 2, 4]) {
  await grow(gigabytes);
  const jobId = await fleet.send({ command: 'backup', target: 'shop', method: null, contents: ['bench'], options: {} });
  const job = await fleet.ended(jobId);
  if (job.state !== 'succeeded') throw new TypeError(`backup ${job.state}: ${job.error?.message}`);
  const { peakResidentBytes } = await memoryOf(fleet.agentPid);
  await delay(SETTLE_MS);
  const after = await memoryOf(fleet.agentPid);
  rows.push([
    `${gigabytes} GB of rows`,
    ...[rest.residentBytes, rest.proportionalBytes, rest.privateBytes].map(megabytes),
    megabytes(peakResidentBytes),
    megabytes(after.privateBytes),
    startSeconds.toFixed(2),
  ]);
}
const head = [
  'database',
  'idle: RSS MB',
  'PSS MB',
  'private MB',
  'peak RSS MB',
  'private MB after the backup',
  'start to online s',
];
await report('agent', head, rows);
