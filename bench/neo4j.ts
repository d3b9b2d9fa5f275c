import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { neo4j } from '@lastgood/engines/neo4j';
import { captureTool, resolveService, runTool } from '@lastgood/host';
import {
  NEO4J_JAVA_FLAGS,
  reflinkDisk,
  startNeo4j,
  startNeo4jService,
  temporaryFolder,
  waitFor,
} from '@lastgood/testkit';
import { z } from 'zod';
import { benchEngine, storedBytes } from './engine-bench.ts';
import { type Measured, measure, median, report } from './report.ts';

const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 3);
const GIGABYTES = Number(process.env['BENCH_GB'] ?? 1);
const DAY_MS = 86_400_000;
const NODES_PER_GIGABYTE = 640_000;
const NODES_PER_CALL = 20_000;
const signal = new AbortController().signal;

interface Row extends Pick<Measured, 'wallSeconds'> {
  readonly name: string;
  readonly downSeconds: number;
  readonly stored: number;
}

await using cleanup = new AsyncDisposableStack();
const disk = cleanup.use(await reflinkDisk(Math.ceil(GIGABYTES * 8 + 1)));
const server = cleanup.use(
  await startNeo4j({
    ...(disk.path === null ? {} : { home: join(disk.path, 'home') }),
    heapMb: 512,
    settings: { 'db.tx_log.rotation.retention_policy': 'keep_none', 'server.memory.pagecache.size': '256m' },
  }),
);
console.log(`filling a graph of ${GIGABYTES} GB`);
await server.query('CREATE CONSTRAINT person_id FOR (p:Person) REQUIRE p.id IS UNIQUE');
const nodes = Math.round(NODES_PER_GIGABYTE * GIGABYTES);
for (let from = 1; from <= nodes; from += NODES_PER_CALL) {
  const range = { from, to: Math.min(nodes, from + NODES_PER_CALL - 1) };
  await server.query(
    `UNWIND range($from, $to) AS i
     CREATE (:Person {id: i, name: 'customer ' + i, age: i % 90, mail: 'p' + i + '@example.org',
       bio: toString(rand()) + toString(rand()) + toString(rand()) + toString(rand()) + ' some words that everybody uses',
       note: toString(rand()) + toString(rand()) + toString(rand()) + toString(rand()) + ' of a customer',
       more: toString(rand()) + toString(rand()) + toString(rand()) + toString(rand()) + toString(rand())})`,
    range,
  );
  await server.query(
    `UNWIND range($from, $to - 1) AS i MATCH (a:Person {id: i}) MATCH (b:Person {id: i + 1})
     CREATE (a)-[:KNOWS {since: i, weight: rand()}]->(b), (a)-[:PAID {amount: rand()}]->(b)`,
    range,
  );
}
await server.stop();
const service = cleanup.use(await startNeo4jService(server));
const { path: work } = cleanup.use(await temporaryFolder());

const untilUsable = (): Promise<unknown> =>
  waitFor('the database', DAY_MS, signal, async () =>
    service.query('MATCH (n) RETURN count(n) AS count').then(
      (rows) => rows[0],
      () => undefined,
    ),
  );

/** The script of the founding document: stop, dump, start. The server is down until the database can be queried again. */
async function founding(): Promise<Row> {
  const dump = join(work, 'neo4j.dump');
  await rm(dump, { force: true });
  const { programs, home, confFolder } = server;
  const flags = [...NEO4J_JAVA_FLAGS, '-cp', join(programs.libFolder, '*')];
  const admin = ['org.neo4j.server.startup.Neo4jAdminCommand', 'database', 'dump', 'neo4j', `--to-path=${work}`];
  const { wallSeconds } = await measure(async () => {
    await service.stop();
    await runTool({
      file: programs.java,
      args: [...flags, `-Dbasedir=${home}`, ...admin],
      env: { NEO4J_HOME: home, NEO4J_CONF: confFolder },
      signal,
      timeoutMs: DAY_MS,
    });
    await service.start();
    await untilUsable();
  });
  return {
    name: 'script of the founding document: stop, `neo4j-admin database dump`, start',
    wallSeconds,
    downSeconds: wallSeconds,
    stored: (await stat(dump)).size,
  };
}

const pauseSchema = z.looseObject({ pauseMs: z.number() });
const connection = { ...server.connection, maxPauseSeconds: 3600, scratch: { heapMb: 512, pageCacheMb: 128 } };
async function inRepository(way: string): Promise<{ backup: Row; restore: Row }> {
  await using own = await temporaryFolder();
  const engine = await benchEngine(neo4j, connection, resolveService(service.commands, {}), own.path);
  let manifest: Awaited<ReturnType<typeof engine.backup>> | undefined;
  const { wallSeconds } = await measure(async () => {
    manifest = await engine.backup({ way });
  });
  if (manifest === undefined) throw new TypeError('no backup');
  await untilUsable();
  const backup = manifest;
  const stored = storedBytes(backup);
  let stoppedSeconds = 0;
  const restored = await measure(async () => {
    ({ stoppedSeconds } = await engine.restore(backup, { kind: 'database', database: 'neo4j' }));
  });
  await untilUsable();
  return {
    backup: {
      name: `Lastgood, \`${way}\` (with \`system\`, counts, both hashes, read-back, manifest)`,
      wallSeconds,
      downSeconds: pauseSchema.parse(backup.engineFacts).pauseMs / 1000,
      stored,
    },
    restore: {
      name: 'Lastgood, restore (load and check beside the server, swap, start, count)',
      wallSeconds: restored.wallSeconds,
      downSeconds: stoppedSeconds,
      stored,
    },
  };
}

const ways = [...(disk.path === null ? [] : ['freeze-copy']), 'stop-copy-start', 'stop-dump-start'];
if (disk.path === null) console.log(`no freeze-copy: ${disk.reason}`);
const rounds: Row[][] = [];
for (let round = 0; round < ROUNDS; round += 1) {
  const rows = [await founding()];
  for (const way of ways) {
    const { backup, restore } = await inRepository(way);
    rows.push(backup);
    if (way === ways.at(-1)) rows.push(restore);
  }
  console.log(JSON.stringify(rows));
  rounds.push(rows);
}
const rows = [...Array(ways.length + 2).keys()].map((index) =>
  median(
    rounds.flatMap((round) => round[index] ?? []),
    ({ wallSeconds }) => wallSeconds,
  ),
);
const [baseline] = rows;
if (baseline === undefined) throw new TypeError('nothing was measured');
await report(
  'neo4j',
  [
    'method',
    'downtime s',
    'wall s',
    'stored MB',
    'downtime relative to the script',
    'wall time relative to the script',
  ],
  rows.map((row) => [
    row.name,
    row.downSeconds.toFixed(2),
    row.wallSeconds.toFixed(1),
    (row.stored / 1e6).toFixed(0),
    (row.downSeconds / baseline.downSeconds).toFixed(3),
    (row.wallSeconds / baseline.wallSeconds).toFixed(2),
  ]),
);
const { stdout: size } = await captureTool({
  file: 'du',
  args: ['-sb', server.dataFolder],
  signal,
  timeoutMs: DAY_MS,
});
console.log(`data folder ${(Number(size.split('\t')[0]) / 1e9).toFixed(2)} GB`);
