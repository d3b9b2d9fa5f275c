import { chown, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { redis } from '@lastgood/engines/redis';
import { runTool } from '@lastgood/host';
import { startRedisService, temporaryFolder } from '@lastgood/testkit';
import { benchEngine, storedBytes } from './engine-bench.ts';
import { type Measured, measureProcesses, median, report } from './report.ts';

const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 3);
const GIGABYTES = Number(process.env['BENCH_GB'] ?? 1);
const DAY_MS = 86_400_000;
const KEYS_PER_GIGABYTE = 2_000_000;
const KEYS_PER_CALL = 20_000;
const signal = new AbortController().signal;

interface Row extends Measured {
  readonly name: string;
  readonly stored: number;
}

await using cleanup = new AsyncDisposableStack();
const folder = await mkdtemp(join(tmpdir(), 'lastgood-bench-'));
cleanup.defer(() => rm(folder, { recursive: true, force: true }));
const { path: work } = cleanup.use(await temporaryFolder());
const server = cleanup.use(await startRedisService({ config: { appendonly: 'no' } }));
const pidOf = async (): Promise<number> =>
  Number(/^process_id:(\d+)/m.exec(String(await server.call('INFO', 'server')))?.[1]);

/** Half of each value repeats and half is random, as in documents. */
const FILL = `for n = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local random = ''
  for part = 1, 7 do random = random .. redis.sha1hex(n .. ':' .. part) end
  redis.call('SET', 'customer:' .. n, '{"name":"customer ' .. n .. '","city":"a city of a hundred thousand","orders":[' .. string.rep('{"item":1},', 12) .. '],"session":"' .. random .. '"}')
end`;
console.log(`filling a server with ${GIGABYTES} GB`);
const keys = Math.round(KEYS_PER_GIGABYTE * GIGABYTES);
for (let from = 1; from <= keys; from += KEYS_PER_CALL)
  await server.call('EVAL', FILL, 0, from, Math.min(keys, from + KEYS_PER_CALL - 1));

const { socket, passwordFile } = server.connection;
const bash = (script: string, ...args: readonly string[]): Promise<unknown> =>
  runTool({
    file: 'bash',
    args: [
      '-c',
      `set -o pipefail; export REDISCLI_AUTH="$(cat "$1")"; ${script}`,
      'bench',
      passwordFile,
      socket,
      ...args,
    ],
    signal,
    timeoutMs: DAY_MS,
  });

const dump = join(work, 'dump.rdb.zst');
async function byHand(): Promise<Row> {
  await rm(dump, { force: true });
  const measured = await measureProcesses([await pidOf()], () =>
    bash('redis-cli -s "$2" --rdb - 2>/dev/null | zstd -1 -q -o "$3" && sync "$3"', dump),
  );
  return { name: '`redis-cli --rdb - \\| zstd -1`, and sync', ...measured, stored: (await stat(dump)).size };
}

async function inRepository(name: string, fileAccess: boolean): Promise<{ rows: Row[]; restored: Measured[] }> {
  await using own = await temporaryFolder();
  const engine = await benchEngine(redis, { ...server.connection, fileAccess }, server.service, own.path);
  let manifest: Awaited<ReturnType<typeof engine.backup>> | undefined;
  const whole = await measureProcesses([await pidOf()], async () => {
    manifest = await engine.backup({});
  });
  if (manifest === undefined) throw new TypeError('no backup');
  const backup = manifest;
  const stored = storedBytes(backup);
  const reread = await measureProcesses([], () => engine.verify(backup));
  const rows = [
    { name, ...whole, stored },
    { name: 'of which read-back with hashing (measured separately as `verify --level 1`)', ...reread, stored },
  ];
  if (!fileAccess) return { rows, restored: [] };
  let stoppedSeconds = 0;
  const restored = await measureProcesses([], async () => {
    ({ stoppedSeconds } = await engine.restore(backup, { kind: 'server' }));
  });
  return { rows, restored: [restored, { wallSeconds: stoppedSeconds, cpuSeconds: Number.NaN }] };
}

/** What an operator does: stop, decompress in the place of the old file, start, and wait until the data is loaded. */
async function restoreByHand(): Promise<Measured> {
  const target = join(server.dataDir, 'dump.rdb');
  const { uid, gid } = await stat(target);
  const begun = performance.now();
  await server.stop();
  await bash('zstd -d -q -f "$3" -o "$4"', dump, target);
  await chown(target, uid, gid);
  await server.start();
  return { wallSeconds: (performance.now() - begun) / 1000, cpuSeconds: Number.NaN };
}

const COMPLETE = 'Lastgood, complete (snapshot, walk with checksum, both hashes, zstd, fsync, read-back, manifest)';
const rounds: { hand: Row; byFile: Row[]; byReplication: Row[]; restored: Measured[]; restoredByHand: Measured }[] = [];
for (let round = 0; round < ROUNDS; round += 1) {
  const hand = await byHand();
  const { rows: byFile, restored } = await inRepository(`${COMPLETE}, by file`, true);
  const { rows: byReplication } = await inRepository(`${COMPLETE}, by replication`, false);
  rounds.push({ hand, byFile, byReplication, restored, restoredByHand: await restoreByHand() });
  console.log(JSON.stringify(rounds.at(-1)));
}
const byCpu = ({ cpuSeconds }: Row): number => cpuSeconds;
const byWall = ({ wallSeconds }: Measured): number => wallSeconds;
const hand = median(
  rounds.map((round) => round.hand),
  byCpu,
);
const part = (of: 'byFile' | 'byReplication', index: number): Row =>
  median(
    rounds.flatMap((round) => round[of][index] ?? []),
    byCpu,
  );
await report(
  'redis-backup',
  [
    'method',
    'wall s',
    'CPU s of the server and the tools',
    'stored MB',
    'wall time relative to the pipe',
    'CPU relative to the pipe',
  ],
  [hand, part('byFile', 0), part('byReplication', 0), part('byFile', 1)].map((row) => [
    row.name,
    row.wallSeconds.toFixed(1),
    row.cpuSeconds.toFixed(1),
    (row.stored / 1e6).toFixed(0),
    (row.wallSeconds / hand.wallSeconds).toFixed(2),
    (row.cpuSeconds / hand.cpuSeconds).toFixed(2),
  ]),
);
const restoredByHand = median(
  rounds.map((round) => round.restoredByHand),
  byWall,
);
const restoredRow = (index: number): Measured =>
  median(
    rounds.flatMap((round) => round.restored[index] ?? []),
    byWall,
  );
await report(
  'redis-restore',
  ['restore', 'wall s', 'relative to the restore by hand'],
  [
    ['by hand: stop, decompress, start, until the data is loaded', restoredByHand] as const,
    ['Lastgood: stop, set files aside, place, start, until the data is loaded', restoredRow(1)] as const,
    [
      'Lastgood, complete (plan, load in a scratch server, snapshot of the present data, the row above, count)',
      restoredRow(0),
    ] as const,
  ].map(([name, { wallSeconds }]) => [
    name,
    wallSeconds.toFixed(1),
    (wallSeconds / restoredByHand.wallSeconds).toFixed(2),
  ]),
);
