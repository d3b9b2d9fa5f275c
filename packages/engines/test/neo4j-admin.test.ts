import { createWriteStream } from 'node:fs';
import { chmod, chown, mkdir, open, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import {
  type Neo4jServer,
  seedGraph,
  smallFileSystem,
  startNeo4j,
  type TemporaryFolder,
  waitFor,
} from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type AdminContext,
  checkArchive,
  checkDatabase,
  checkDumpArchive,
  copyStore,
  dumpDatabase,
  findDatabaseUser,
  findServerProcess,
  loadDatabase,
  prepareCopy,
  readLogState,
  readStoreInfo,
  restoreNamesOf,
} from '../src/neo4j/index.ts';
import {
  adminOf,
  codeOf,
  damagesOf,
  dumpOf,
  MemorySink,
  never,
  openFolder,
  processesUnder,
  snapshotStore,
  storeOfServer,
  streamOf,
} from './support/neo4j-lab.ts';

const JOB = '01890a5d-ac96-774b-bcce-b302099a8057';
const names = restoreNamesOf('neo4j', JOB);
let server: Neo4jServer;
let scratch: TemporaryFolder;
let admin: AdminContext;
/** Of the stopped server. */
let dump: Buffer;

beforeAll(async () => {
  server = await startNeo4j();
  scratch = await openFolder();
  admin = adminOf(server, scratch.path);
  await seedGraph(server, 200);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await scratch[Symbol.asyncDispose]();
});

const discard = (): MemorySink => new MemorySink();
const logsFolder = (): string => join(admin.store.transactions, 'neo4j');
/** Nothing that a command made is left: neither files nor processes. */
const leftovers = async (): Promise<unknown[]> => [
  ...(await readdir(scratch.path)).filter((name) => name.startsWith('lastgood-neo4j-')),
  ...(await processesUnder(scratch.path)),
];
async function fill(folder: string, name: string, bytes: Buffer): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, name), bytes);
  if (server.owner !== undefined)
    for (const path of [folder, join(folder, name)]) await chown(path, server.owner.uid, server.owner.gid);
}

describe('while the server runs', () => {
  test('its process is found by the lock of the store', async () => {
    const store = storeOfServer(server);
    const pid = await server.pid();
    expect((await findServerProcess(store))?.pid).toBe(pid);
    expect((await findDatabaseUser(store, 'neo4j'))?.pid).toBe(pid);
    expect(await findDatabaseUser(store, 'nosuch')).toBeNull();
  });

  test('a mounted database is neither dumped nor checked, and is reported as in use', async () => {
    expect(await codeOf(dumpDatabase(admin, 'neo4j', discard()))).toBe('DATABASE_REFUSED');
    expect(await codeOf(checkDatabase(admin, 'neo4j'))).toBe('DATABASE_REFUSED');
    expect(await readStoreInfo(admin, 'neo4j')).toEqual({ state: 'in-use' });
  });

  test('nothing is loaded over an existing database, mounted or not', async () => {
    for (const bytes of [Buffer.from('random bytes'), Buffer.alloc(0)])
      expect(await codeOf(loadDatabase(admin, 'neo4j', streamOf(bytes)))).toBe('TARGET_NOT_EMPTY');
    expect(await server.query('MATCH (p:Person) RETURN count(p) AS count')).toEqual([{ count: 200n }]);
  });
});

test('a killed server leaves a store that needs recovery, which nothing takes for a clean one', async () => {
  await server.query('CREATE (:BeforeTheKill)');
  await server.kill();
  const logs = await readLogState(logsFolder());
  expect(logs).toMatchObject({ state: 'read', isClean: false });
  expect(await readStoreInfo(admin, 'neo4j')).toMatchObject({ state: 'recovery-required' });
  expect(await codeOf(dumpDatabase(admin, 'neo4j', discard()))).toBe('TOOL_FAILED');
  expect(await checkDatabase(admin, 'neo4j')).toEqual({ state: 'not-checked', exitCode: 1 });
  await server.start();
  expect(await server.query('MATCH (n:BeforeTheKill) RETURN count(n) AS count')).toEqual([{ count: 1n }]);
});

describe('a stopped server', () => {
  beforeAll(async () => {
    await server.stop();
    dump = await dumpOf(admin, 'neo4j');
  });
  afterAll(() => server.start());

  test('has a clean store, whose last transaction the logs, their checkpoint and neo4j-admin agree on', async () => {
    const logs = await readLogState(logsFolder());
    const info = await readStoreInfo(admin, 'neo4j');
    expect(info).toMatchObject({ state: 'clean', storeFormat: 'record-aligned-1.1' });
    expect(logs).toMatchObject({
      state: 'read',
      isClean: true,
      lastTransaction: info.state === 'clean' && info.lastTransaction,
      checkpoint: { kernelVersion: 20, transaction: info.state === 'clean' && info.lastTransaction },
    });
    expect(await findServerProcess(admin.store)).toBeNull();
  });

  test('is dumped into an archive of exactly its files', async () => {
    const sink = discard();
    const report = await dumpDatabase(admin, 'neo4j', sink);
    expect(report).toMatchObject({ state: 'intact', compression: 'zstd', archiveBytes: sink.bytes.length });
    const files = Object.entries(await snapshotStore(admin.store, 'neo4j'));
    expect(
      new Map(files.map(([path, facts]) => [path.replace(/^.*?\/neo4j\//, ''), Number(facts.split(' ')[0])])),
    ).toEqual(report.sizes);
    expect(await checkDumpArchive(streamOf(sink.bytes), never)).toEqual(report);
    expect(await checkDatabase(admin, 'neo4j')).toEqual({ state: 'consistent' });
    expect(await leftovers()).toEqual([]);
  });

  test('an archive that could not be written is a failure, although neo4j-admin reports success', async () => {
    expect(await codeOf(dumpDatabase(admin, 'neo4j', createWriteStream('/dev/full')))).toBe('NO_SPACE');
    const { java } = admin.runtime;
    const liar = join(scratch.path, 'java');
    await writeFile(liar, `#!/bin/sh\n${java} "$@" | head -c 2000\n`);
    await chmod(liar, 0o755);
    const lying = { ...admin, runtime: { ...admin.runtime, java: liar } };
    await expect(dumpDatabase(lying, 'neo4j', discard())).rejects.toMatchObject({
      code: 'TOOL_FAILED',
      message: expect.stringContaining('(truncated)'),
    });
    await writeFile(liar, `#!/bin/sh\n${java} "$@" >/dev/full\n`);
    expect(await codeOf(dumpDatabase(lying, 'neo4j', discard()))).toBe('TOOL_FAILED');
  });

  test('a database that does not exist is a failure', async () => {
    expect(await codeOf(dumpDatabase(admin, 'nosuch', discard()))).toBe('TOOL_FAILED');
    expect(await readStoreInfo(admin, 'nosuch')).toEqual({ state: 'unreadable' });
    expect(await checkDatabase(admin, 'nosuch')).toEqual({ state: 'not-checked', exitCode: 70 });
  });

  test('a canceled dump leaves no process behind', async () => {
    const abort = new AbortController();
    const slow = new MemorySink();
    slow._write = (_chunk, _encoding, done) => {
      abort.abort();
      setTimeout(done, 100);
    };
    expect(await codeOf(dumpDatabase({ ...admin, signal: abort.signal }, 'neo4j', slow))).toBe('JOB_CANCELED');
    expect(await leftovers()).toEqual([]);
  });

  test('A24: a damaged store is dumped all the same, and the check of store and archive finds it', async () => {
    await using folder = await openFolder();
    await chown(folder.path, server.owner?.uid ?? -1, server.owner?.gid ?? -1);
    const store = await prepareCopy(admin, folder.path);
    await copyStore(admin, store, { databases: ['neo4j'], mode: 'any' });
    const damaged = { ...admin, store };
    await using file = await open(join(folder.path, 'databases/neo4j/neostore.relationshipstore.db'), 'r+');
    await file.write(Buffer.alloc(512, 0xa5), 0, 512, 1_024);
    const archive = await dumpOf(damaged, 'neo4j');
    expect((await checkDumpArchive(streamOf(archive), never)).state).toBe('intact');
    const found = await checkDatabase(damaged, 'neo4j');
    expect(found).toMatchObject({ state: 'inconsistent' });
    expect(found.state === 'inconsistent' && found.reportBytes).toBeGreaterThan(0);
    const dumps = join(folder.path, 'dumps');
    await fill(dumps, 'neo4j.dump', archive);
    expect(await checkArchive(damaged, 'neo4j', dumps, folder.path)).toMatchObject({ state: 'inconsistent' });
  });
});

describe('loading beside the running server', () => {
  let untouched: Record<string, string>;
  beforeAll(async () => {
    untouched = await snapshotStore(admin.store, 'system');
  });
  const serves = (): Promise<unknown> => server.query('MATCH (p:Person) RETURN count(p) AS count');

  test('gives a clean store with the last transaction of the dump, owned by the user of the server', async () => {
    await loadDatabase(admin, names.staging, streamOf(dump));
    const logs = await readLogState(join(admin.store.transactions, names.staging));
    expect(await readStoreInfo(admin, names.staging)).toEqual({
      state: 'clean',
      storeFormat: 'record-aligned-1.1',
      lastTransaction: logs.state === 'read' && logs.lastTransaction,
    });
    expect(await checkDatabase(admin, names.staging)).toEqual({ state: 'consistent' });
    const { uid } = await stat(join(admin.store.data, 'databases', names.staging, 'neostore'));
    expect(uid).toBe(server.owner?.uid ?? process.getuid?.());
    await removeStaging();
  });

  test('an archive with damage fails without harm, and is recognized without loading it', async () => {
    for (const [damage, bytes] of Object.entries(damagesOf(dump))) {
      expect((await checkDumpArchive(streamOf(bytes), never)).state, damage).toBe('damaged');
      expect(await codeOf(loadDatabase(admin, names.staging, streamOf(bytes))), damage).toBe('TOOL_FAILED');
      await removeStaging();
    }
    expect(await serves()).toEqual([{ count: 200n }]);
    expect(await snapshotStore(admin.store, 'system')).toEqual(untouched);
  });

  test('a load that is killed half-way leaves a part of the staging store, no process, and the database as it was', async () => {
    const abort = new AbortController();
    // The archive stops in the middle: the load waits for the rest.
    const stuck = new PassThrough();
    stuck.write(dump.subarray(0, dump.length / 2));
    const folder = join(admin.store.data, 'databases', names.staging);
    void waitFor('the first files', 60_000, never, async () =>
      (await stat(folder).catch(() => null)) === null ? undefined : true,
    ).finally(() => abort.abort());
    expect(await codeOf(loadDatabase({ ...admin, signal: abort.signal }, names.staging, stuck))).toBe('JOB_CANCELED');
    expect(await leftovers()).toEqual([]);
    expect((await readStoreInfo(admin, names.staging)).state).not.toBe('clean');
    await removeStaging();
    expect(await serves()).toEqual([{ count: 200n }]);
  });

  test('a full disk is reported as such', async ({ skip }) => {
    await using disk = await smallFileSystem(600_000);
    if (disk.path === null) return skip(disk.reason);
    await chmod(disk.path, 0o711);
    const store = { data: join(disk.path, 'data'), transactions: join(disk.path, 'data', 'transactions') };
    for (const folder of [store.data, join(store.data, 'databases'), store.transactions]) {
      await mkdir(folder);
      if (server.owner !== undefined) await chown(folder, server.owner.uid, server.owner.gid);
    }
    expect(await codeOf(loadDatabase({ ...admin, store }, 'neo4j', streamOf(dump)))).toBe('NO_SPACE');
  });

  test('an archive is checked for consistency while the server runs', async () => {
    await using folder = await openFolder();
    const [good, bad] = [join(folder.path, 'good'), join(folder.path, 'bad')];
    await fill(good, 'neo4j.dump', dump);
    await fill(bad, 'neo4j.dump', damagesOf(dump)['a byte flipped in the middle'] ?? Buffer.alloc(0));
    expect(await checkArchive(admin, 'neo4j', good, good)).toEqual({ state: 'consistent' });
    expect(await checkArchive(admin, 'neo4j', bad, bad)).toEqual({ state: 'not-checked', exitCode: 70 });
    expect(await serves()).toEqual([{ count: 200n }]);
  });

  async function removeStaging(): Promise<void> {
    await rm(join(admin.store.data, 'databases', names.staging), { recursive: true, force: true });
    await rm(join(admin.store.transactions, names.staging), { recursive: true, force: true });
  }
});
