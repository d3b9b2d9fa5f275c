import { chown, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import {
  type Neo4jServer,
  type NoReflinkDisk,
  type ReflinkDisk,
  reflinkDisk,
  seedGraph,
  startNeo4j,
  startWriteLoad,
  type TemporaryFolder,
} from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type AdminContext,
  assessWays,
  BoltSession,
  compareFingerprints,
  copyStore,
  installPathsOf,
  neo4jConnectionSchema,
  prepareCopy,
  probeWays,
  readFingerprint,
  readLogState,
  readServerFacts,
  readStoreInfo,
  recoverCopy,
} from '../src/neo4j/index.ts';
import { adminOf, codeOf, never, openFolder, targetOf } from './support/neo4j-lab.ts';

const QUERY_MS = 120_000;
/** Only cuts off what hangs: while other tests run, each start takes long. */
const LONG_MS = 600_000;
const DATABASES = ['neo4j', 'system'];
const cleanup = new AsyncDisposableStack();
let disk: ReflinkDisk | NoReflinkDisk;
let scratch: TemporaryFolder;
let server: Neo4jServer;
let admin: AdminContext;

beforeAll(async () => {
  disk = cleanup.use(await reflinkDisk());
  scratch = cleanup.use(await openFolder());
  server = await startNeo4j({
    ...(disk.path === null ? {} : { home: join(disk.path, 'home') }),
    settings: { 'db.checkpoint.interval.time': '1s' },
  });
  cleanup.use(server);
  admin = adminOf(server, scratch.path);
  await seedGraph(server, 100);
});
afterAll(() => cleanup.disposeAsync());

const copyFolder = async (name: string): Promise<string> => {
  const path = join(disk.path ?? scratch.path, name);
  await mkdir(path, { mode: 0o711 });
  await chown(path, server.owner?.uid ?? -1, server.owner?.gid ?? -1);
  return path;
};

async function lastTransactions(): Promise<{ name: string; lastTransaction: number | null }[]> {
  await using session = await BoltSession.open(await targetOf(server), never);
  return await Promise.all(
    DATABASES.map(async (name) => ({ name, lastTransaction: await session.lastTransaction(name, QUERY_MS) })),
  );
}

describe('a copy that is not complete is never taken for a backup', () => {
  test('one without its transaction logs, and one that lacks an acknowledged transaction', {
    timeout: LONG_MS,
  }, async () => {
    await using load = await startWriteLoad(server, 1);
    await load.progress(5);
    await load.stop();
    const [{ lastTransaction = null } = {}] = await lastTransactions();
    await server.kill();
    const takeCopy = async (name: string): Promise<AdminContext> => {
      const copied = await prepareCopy(admin, await copyFolder(name));
      await copyStore(admin, copied, { databases: DATABASES, mode: 'any' });
      return { ...admin, store: copied };
    };
    const [torn, short] = [await takeCopy('torn'), await takeCopy('short')];
    await server.start();
    for (const name of await readdir(join(torn.store.transactions, 'neo4j')))
      await rm(join(torn.store.transactions, 'neo4j', name));
    await expect(recoverCopy(torn, [{ name: 'neo4j', lastTransaction: null }])).rejects.toMatchObject({
      code: 'TOOL_FAILED',
      message: expect.stringMatching(/"neo4j" could not be recovered \((unreadable|recovery-required)\)/),
    });
    const tooMany = (lastTransaction ?? 0) + 1;
    await expect(recoverCopy(short, [{ name: 'neo4j', lastTransaction: tooMany }])).rejects.toMatchObject({
      code: 'TOOL_FAILED',
      message: expect.stringContaining(`${tooMany} was acknowledged`),
    });
    expect(await readStoreInfo(short, 'neo4j')).toMatchObject({ state: 'clean' });
  });

  test('blocks that cannot be shared are an error, not a slow copy', async ({ skip }) => {
    if (disk.path === null) return skip(disk.reason);
    await using elsewhere = await openFolder();
    await chown(elsewhere.path, server.owner?.uid ?? -1, server.owner?.gid ?? -1);
    const target = await prepareCopy(admin, elsewhere.path);
    expect(await codeOf(copyStore(admin, target, { databases: ['neo4j'], mode: 'reflink' }))).toBe('TOOL_FAILED');
  });

  test('a copy that is canceled ends with the reason', async () => {
    const target = await prepareCopy(admin, await copyFolder('canceled'));
    const canceled = { ...admin, signal: AbortSignal.abort(new Failure('JOB_CANCELED', 'canceled')) };
    expect(await codeOf(copyStore(canceled, target, { databases: ['neo4j'], mode: 'any' }))).toBe('JOB_CANCELED');
  });
});

test('the ways that this host offers are found, and the copies of a stopped server are clean', async ({ skip }) => {
  const connection = neo4jConnectionSchema.parse({ ...server.connection, copyFolder: await copyFolder('copies') });
  await using session = await BoltSession.open(await targetOf(server), never);
  const facts = await readServerFacts(session, QUERY_MS);
  const inputs = { server: facts, canControlService: true, maxPauseSeconds: 60 };
  const found = await probeWays(installPathsOf(connection), inputs, admin);
  expect(found).toMatchObject({
    edition: 'community',
    hasOnlineBackup: false,
    serverProcess: 'found',
    maySignal: true,
  });
  expect(
    assessWays(found)
      .filter(({ possible }) => possible)
      .map(({ way }) => way),
  ).toEqual([...(disk.path === null ? [] : ['freeze-copy']), 'stop-copy-start', 'stop-dump-start']);
  if (disk.path === null) return skip(disk.reason);
  const before = await readFingerprint(session, 'neo4j', { digests: true, queryMs: QUERY_MS });
  await server.stop();
  const folders = await prepareCopy(admin, await copyFolder('stopped'));
  await copyStore(admin, folders, { databases: DATABASES, mode: 'reflink' });
  await server.start();
  expect(await readLogState(join(folders.transactions, 'neo4j'))).toMatchObject({ state: 'read', isClean: true });
  expect(await readStoreInfo({ ...admin, store: folders }, 'neo4j')).toMatchObject({ state: 'clean' });
  await using again = await BoltSession.open(await targetOf(server), never);
  const after = await readFingerprint(again, 'neo4j', { digests: true, queryMs: QUERY_MS });
  expect(compareFingerprints(before, after)).toEqual([]);
});
