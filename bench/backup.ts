import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { noSteps } from '@lastgood/core';
import { createPostgresEngine, postgresMethods } from '@lastgood/engines/postgres';
import { runTool, systemClock, uuidv7 } from '@lastgood/host';
import { createFolderRepository } from '@lastgood/repository';
import { startPostgres, temporaryFolder } from '@lastgood/testkit';
import { type Measured, measure, median, report } from './report.ts';

const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 3);
const GIGABYTES = Number(process.env['BENCH_GB'] ?? 2);
interface Row extends Measured {
  readonly name: string;
  readonly stored: number;
}
let rawBytes = 0;
const signal = new AbortController().signal;
const DAY_MS = 86_400_000;

const folder = await mkdtemp(join(tmpdir(), 'lastgood-bench-'));
await using cleanup = new AsyncDisposableStack();
cleanup.defer(() => rm(folder, { recursive: true, force: true }));
const server = cleanup.use(
  await startPostgres({ extraConf: 'shared_buffers = 256MB\nmax_wal_size = 8GB\nautovacuum = off\n' }),
);

console.log(`filling a database of ${GIGABYTES} GB`);
await server.query('postgres', 'create database bench');
const rowsPerGigabyte = 3_100_000;
await server.query(
  'bench',
  'create table events (id uuid not null, at timestamptz not null, amount numeric(12,2) not null, kind text not null, payload jsonb not null, note text not null)',
);
await server.query(
  'bench',
  `insert into events select gen_random_uuid(), timestamptz '2026-01-01' + i * interval '1 second', (random() * 10000)::numeric(12,2), (array['order','refund','visit','login'])[1 + i % 4],
  jsonb_build_object('user', i % 100000, 'session', md5((i % 5000)::text), 'ip', '10.0.' || i % 250 || '.' || i % 199, 'tags', jsonb_build_array('a' || i % 7, 'b' || i % 11)),
  'note ' || md5((i / 3)::text) || ' of customer ' || i % 100000 || ' who bought something on a day of ' || i % 365 from generate_series(1, ${Math.round(rowsPerGigabyte * GIGABYTES)}) i`,
);
await server.query('bench', 'alter table events add primary key (id)');
await server.query('bench', 'checkpoint');
const [size] = await server.query('postgres', "select pg_database_size('bench')::float8 as bytes");

const env = { PGPASSFILE: server.passfile, PGHOST: server.host, PGPORT: String(server.port), PGUSER: server.user };
const pgDump = join(server.binDir, 'pg_dump');
async function shell(name: string, script: string): Promise<Row> {
  const file = join(folder, 'peer.out');
  const measured = await measure(() =>
    runTool({
      file: 'bash',
      args: ['-c', `set -o pipefail; ${script}`, 'bench', pgDump, file],
      env,
      signal,
      timeoutMs: DAY_MS,
    }),
  );
  const { size: stored } = await stat(file);
  await rm(file);
  return { name, ...measured, stored };
}

async function lastgood(): Promise<Row[]> {
  const path = join(folder, 'repository');
  await mkdir(path, { mode: 0o700, recursive: true });
  await using work = await temporaryFolder();
  const repository = await createFolderRepository({ understood: postgresMethods, path });
  const engine = createPostgresEngine(server.connection);
  const context = {
    workDir: work.path,
    signal,
    clock: systemClock,
    steps: noSteps,
    log: () => undefined,
    progress: () => undefined,
  };
  const ref = { environment: 'bench', host: 'bench', target: 'bench' };
  let stored = 0;
  const backupId = uuidv7();
  const whole = await measure(async () => {
    const writer = await repository.begin(
      {
        ref,
        backupId,
        jobId: uuidv7(),
        attempt: 1,
        engine: 'postgres',
        startedAt: new Date().toISOString(),
        lastgoodVersion: 'bench',
      },
      'bench',
    );
    const facts = await engine.backup({ method: 'logical', contents: ['bench'], options: {} }, writer, context);
    const { manifest } = await writer.publish(facts, new Date().toISOString());
    stored = manifest.objects.reduce((sum, object) => sum + object.stored.size, 0);
    rawBytes = manifest.objects.reduce((sum, object) => sum + object.produced.size, 0);
  });
  const reread = await measure(() => repository.verify(ref, backupId, 1, signal, () => undefined));
  return [
    {
      name: 'Lastgood, complete (snapshot, row counts, dump, both hashes, zstd, fsync, read-back, manifest)',
      ...whole,
      stored,
    },
    { name: 'of which read-back with hashing (measured separately as `verify --level 1`)', ...reread, stored },
  ];
}

/** Measures both SHA-256 hashes of a backup over the same number of bytes in memory. */
async function hashing(stored: number): Promise<Row> {
  const megabyte = randomBytes(1 << 20);
  const measured = await measure(async () => {
    const hash = createHash('sha256');
    for (let done = 0; done < rawBytes + stored; done += megabyte.length) hash.update(megabyte);
    hash.digest();
  });
  return {
    name: 'of which both SHA-256 hashes (measured separately over the same number of bytes in memory)',
    ...measured,
    stored,
  };
}

const byWall = ({ wallSeconds }: Row): number => wallSeconds;

const baseline = await shell('baseline: `pg_dump -Fc --compress=9`', '"$1" -Fc --compress=9 -d bench -f "$2"');
const rounds: { pipe3: Row; pipe1: Row; lastgoodRows: Row[] }[] = [];
for (let round = 0; round < ROUNDS; round += 1) {
  const pipe3 = await shell(
    '`pg_dump -Fc -Z0 \\| zstd` (level 3, the default)',
    '"$1" -Fc -Z0 -d bench | zstd -q -o "$2"',
  );
  const pipe1 = await shell('`pg_dump -Fc -Z0 \\| zstd -1`', '"$1" -Fc -Z0 -d bench | zstd -1 -q -o "$2"');
  rounds.push({ pipe3, pipe1, lastgoodRows: await lastgood() });
}
const pipe3 = median(
  rounds.map((round) => round.pipe3),
  byWall,
);
const pipe1 = median(
  rounds.map((round) => round.pipe1),
  byWall,
);
const lastgoodRows = [0, 1].map((part) =>
  median(
    rounds.flatMap((round) => round.lastgoodRows[part] ?? []),
    byWall,
  ),
);
await report(
  'backup',
  ['method', 'wall s', 'CPU s', 'stored MB', 'speedup over the baseline', 'wall time relative to `\\| zstd`'],
  [baseline, pipe3, pipe1, ...lastgoodRows, await hashing(lastgoodRows[0]?.stored ?? 0)].map((row) => [
    row.name,
    row.wallSeconds.toFixed(1),
    row.cpuSeconds.toFixed(1),
    (row.stored / 1e6).toFixed(0),
    (baseline.wallSeconds / row.wallSeconds).toFixed(2),
    (row.wallSeconds / pipe3.wallSeconds).toFixed(2),
  ]),
);
console.log(`database size ${((Number(size?.['bytes']) || 0) / 1e9).toFixed(2)} GB`);
