import { chown, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Manifest } from '@lastgood/protocol';
import {
  type Neo4jServer,
  type Neo4jService,
  type NoReflinkDisk,
  type ReflinkDisk,
  readLoadState,
  reflinkDisk,
  seedGraph,
  startNeo4j,
  startNeo4jService,
  startWriteLoad,
  waitFor,
} from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dumpFactsOf, readLogState } from '../src/neo4j/index.ts';
import { Neo4jHarness } from './support/neo4j-harness.ts';
import { codeOf, never } from './support/neo4j-lab.ts';

const LONG_MS = 300_000;
const SMALL = { scratch: { heapMb: 256, pageCacheMb: 64 } };
const NEO4J = { kind: 'database', database: 'neo4j' } as const;
const cleanup = new AsyncDisposableStack();
let disk: ReflinkDisk | NoReflinkDisk;
let server: Neo4jServer;
let service: Neo4jService;
let harness: Neo4jHarness;
/** A backup of the seeded graph, taken while nothing was written. */
let quiet: Manifest;

beforeAll(async () => {
  disk = cleanup.use(await reflinkDisk());
  server = cleanup.use(
    await startNeo4j({
      ...(disk.path === null ? {} : { home: join(disk.path, 'home') }),
      settings: { 'db.checkpoint.interval.time': '1s' },
    }),
  );
  await seedGraph(server, 50);
  await server.query("CREATE USER alice SET PASSWORD 'of-the-backup' CHANGE NOT REQUIRED", {}, 'system');
  await server.stop();
  service = cleanup.use(await startNeo4jService(server));
  harness = cleanup.use(await Neo4jHarness.open(server, service, SMALL));
}, LONG_MS);
afterAll(() => cleanup.disposeAsync(), LONG_MS);

const copies = async (): Promise<string[]> => await readdir(join(server.dataFolder, 'lastgood')).catch(() => []);
const users = async (): Promise<unknown[]> =>
  (await service.query('SHOW USERS YIELD user', {}, 'system')).map(({ user }) => user).toSorted();

/** Until the store files hold what was written so far, and a copy is not of the logs alone. */
async function untilCheckpoint(): Promise<void> {
  const logs = join(server.dataFolder, 'transactions', 'neo4j');
  const before = await readLogState(logs);
  await waitFor('a checkpoint', LONG_MS, never, async () => {
    const now = await readLogState(logs);
    if (now.state !== 'read' || before.state !== 'read') return undefined;
    return now.checkpoint.transaction >= before.lastTransaction ? true : undefined;
  });
}

/** Writes to the graph until the work has ended, except while the server does not accept it. */
async function whileWriting<T>(work: () => Promise<T>): Promise<T> {
  let isDone = false;
  const writing = (async () => {
    while (!isDone) await service.query('CREATE (:Written)').catch(() => undefined);
  })();
  try {
    return await work();
  } finally {
    isDone = true;
    await writing;
  }
}

describe('a backup', () => {
  test('freezes the server under writes when the file system shares blocks, and is restored to one consistent state', {
    timeout: LONG_MS,
  }, async ({ skip }) => {
    if (disk.path === null) return skip(disk.reason);
    const pid = await service.pid();
    await using load = await startWriteLoad(service);
    await load.progress(30);
    await untilCheckpoint();
    const acknowledged = load.acknowledged();
    const manifest = await harness.backup({ digests: true }, ['neo4j']);
    // The writers go on: a freeze closes no connection.
    await load.progress(5);
    await load.stop();
    const facts = dumpFactsOf(manifest);
    expect(facts).toMatchObject({ way: 'freeze-copy', digests: true });
    console.log(`paused for ${facts.pauseMs} ms`);
    expect(manifest.warnings).toEqual([]);
    expect(await service.pid()).toBe(pid);
    expect(await copies()).toEqual([]);
    expect(await harness.verify(6, manifest)).toMatchObject({ reached: 6, findings: [] });
    await harness.restore(harness.request(manifest, NEO4J));
    const state = await readLoadState((cypher) => service.query(cypher));
    expect(state.sum).toBe(0);
    for (const [index, { entries, last }] of state.writers.entries()) {
      expect(entries).toBe(last);
      expect(last).toBeGreaterThanOrEqual(acknowledged[index] ?? 0);
    }
  });

  test('stops the server for a copy, and counts what was written meanwhile in a scratch server', {
    timeout: LONG_MS,
  }, async () => {
    const manifest = await whileWriting(() => harness.backup({ way: 'stop-copy-start' }, ['neo4j']));
    const [database] = dumpFactsOf(manifest).databases;
    expect(database?.nodes).toBeGreaterThan(60);
    expect(manifest.warnings).toEqual([]);
    expect(await service.isRunning()).toBe(true);
    expect(await copies()).toEqual([]);
  });

  test('of a stopped server warns of a graph that was written to before, and is verified to level 4 at most', {
    timeout: LONG_MS,
  }, async () => {
    const manifest = await whileWriting(() => harness.backup({ way: 'stop-dump-start' }, ['neo4j']));
    expect(manifest.warnings.map(({ code }) => code)).toEqual(['GRAPH_NOT_COUNTED']);
    expect(await codeOf(harness.verify(5, manifest))).toBe('BAD_INPUT');
    expect(await harness.verify(2, manifest)).toMatchObject({ reached: 2, findings: [] });
  });

  test('is refused without a service, beyond the longest pause, and for an unknown database', async () => {
    await using serviceless = await Neo4jHarness.open(server, null, SMALL);
    expect(await codeOf(serviceless.backup({ way: 'stop-dump-start' }))).toBe('CONFIG_INVALID');
    await using hasty = await Neo4jHarness.open(server, service, { ...SMALL, maxPauseSeconds: 1 });
    expect(await codeOf(hasty.backup({ way: 'stop-dump-start' }))).toBe('HOST_LIMIT');
    expect(await codeOf(harness.backup({}, ['nosuch']))).toBe('NOT_FOUND');
    const { value } = await serviceless.call((context) => serviceless.engine.probe(context));
    expect(value).toMatchObject({ state: 'ok', version: '5.26.30' });
    expect(value.findings.map(({ code }) => code)).toContain('SERVICE_NOT_NAMED');
  });
});

describe('a restore', () => {
  beforeAll(async () => {
    quiet = await harness.backup({ way: 'stop-dump-start' });
  }, LONG_MS);

  test('of everything brings users and graph back, and the server keeps its identity', {
    timeout: LONG_MS,
  }, async () => {
    const { value: before } = await harness.call((context) => harness.engine.identify(context));
    await service.query('MATCH (n:Person) DETACH DELETE n');
    await service.query('DROP USER alice', {}, 'system');
    const request = harness.request(quiet, { kind: 'server' });
    expect((await harness.plan(request)).warnings.map(({ code }) => code)).toEqual(['ACCOUNTS_REPLACED']);
    const restored = await harness.restore(request);
    expect(restored.counts.map(({ label }) => label)).toEqual(['nodes of neo4j', 'relationships of neo4j', 'downtime']);
    expect(await users()).toEqual(['alice', 'neo4j']);
    expect((await service.query('MATCH (n:Person) RETURN count(n) AS n'))[0]?.['n']).toBe(50n);
    const { value: after } = await harness.call((context) => harness.engine.identify(context));
    expect(after).toEqual(before);
  });

  test('brings a database back whose store is damaged, although the server cannot mount it', {
    timeout: LONG_MS,
  }, async () => {
    await service.stop();
    const store = join(server.dataFolder, 'databases', 'neo4j', 'neostore');
    await rm(store);
    await writeFile(store, 'damaged');
    await chown(store, server.owner?.uid ?? -1, server.owner?.gid ?? -1);
    const request = harness.request(quiet, NEO4J);
    const plan = await harness.plan(request);
    expect(plan.warnings.map(({ code }) => code)).toContain('SERVER_NOT_RUNNING');
    await harness.restore(request);
    expect((await service.query('MATCH (n:Person) RETURN count(n) AS n'))[0]?.['n']).toBe(50n);
  });

  test('is refused without a service, and for a request that a dump cannot fulfill', async () => {
    await using serviceless = await Neo4jHarness.open(server, null, SMALL);
    const manifest = { ...quiet };
    const refusals = await harness.call((context) =>
      serviceless.engine.plan(harness.request(manifest, NEO4J), harness.source(), context),
    );
    expect(refusals.value.refusals.map(({ code, error }) => [code, error])).toEqual([
      ['SERVICE_NOT_NAMED', 'CONFIG_INVALID'],
    ]);
    const request = harness.request(manifest, NEO4J);
    expect(await codeOf(harness.plan({ ...request, into: { way: 'in-place' } }))).toBe('BAD_INPUT');
    expect(await codeOf(harness.plan({ ...request, point: { kind: 'latest' } }))).toBe('BAD_INPUT');
    const other = await harness.plan({ ...request, scope: { kind: 'database', database: 'nosuch' } });
    expect(other.refusals.map(({ code }) => code)).toEqual(['DATABASE_NOT_IN_BACKUP']);
  });
});
