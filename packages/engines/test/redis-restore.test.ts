import { createReadStream } from 'node:fs';
import { copyFile, mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { uncontainedSandbox } from '@lastgood/host';
import {
  type RedisConfig,
  type RedisPrograms,
  type RedisServer,
  seedKeys,
  startRedis,
  temporaryFolder,
} from '@lastgood/testkit';
import { describe, expect, test } from 'vitest';
import {
  AofSet,
  canLoadRdb,
  copyRdbFile,
  judgeRdb,
  type NewFiles,
  ownershipOf,
  parseVersion,
  placeFiles,
  planRestore,
  type RdbReport,
  type RedisFingerprint,
  RedisSession,
  type RestoreSource,
  readFingerprint,
  readinessProbe,
  readServerFacts,
  redisConnectionSchema,
  returnFiles,
  runChecker,
  type ServerFiles,
  seedManifest,
  setAside,
  stageFiles,
  walkRdb,
} from '../src/redis/index.ts';
import { Collector, failureOf } from './support/collector.ts';
import { eachFlavor, programsOf } from './support/redis-flavors.ts';
import { loadScratch } from './support/redis-scratch.ts';

const never = new AbortController().signal;
const RESTORE_ID = '0123456789ab';

/** An RDB file of the given keys, made by a server that is gone afterwards. */
async function makeRdb(
  programs: RedisPrograms,
  path: string,
  fill: (server: RedisServer) => Promise<unknown>,
): Promise<RdbReport> {
  await using server = await startRedis({ programs });
  await fill(server);
  await server.call('SAVE');
  await copyFile(join(server.dataDir, 'dump.rdb'), path);
  return await walkRdb(createReadStream(path));
}
const contents = async (server: RedisServer): Promise<RedisFingerprint> =>
  await readFingerprint({
    connection: redisConnectionSchema.parse(server.connection),
    snapshotAt: 0,
    digests: true,
    signal: never,
  });
const hundred = async (server: RedisServer): Promise<unknown> =>
  await server.call('MSET', ...Array.from({ length: 100 }, (_, n) => [`key:${n}`, `value ${n}`]).flat());

eachFlavor('an RDB file that is put back by hand into %s', (flavor) => {
  /** A server with one key of its own, stopped, and an RDB file of a hundred keys. */
  async function situation(
    programs: RedisPrograms,
    config: RedisConfig,
  ): Promise<AsyncDisposable & { server: RedisServer; rdb: string; put: (...path: string[]) => Promise<void> }> {
    const folder = await temporaryFolder();
    const rdb = join(folder.path, 'backup.rdb');
    await makeRdb(programs, rdb, hundred);
    const server = await startRedis({ programs, config });
    await server.call('SET', 'poison', 1);
    await server.stop();
    return {
      server,
      rdb,
      put: async (...path) => {
        const target = join(server.dataDir, ...path);
        await copyFile(rdb, target);
        await server.own(target);
      },
      [Symbol.asyncDispose]: async () => {
        await server[Symbol.asyncDispose]();
        await folder[Symbol.asyncDispose]();
      },
    };
  }
  const AOF = { appendonly: 'yes' };

  test('F10: with appendonly yes is ignored: the append-only files win', async ({ skip }) => {
    await using all = await situation(programsOf(flavor, skip), AOF);
    await all.put('dump.rdb');
    await all.server.start();
    expect(await all.server.call('KEYS', '*')).toEqual(['poison']);
  });

  test('with appendonly yes and without append-only files is ignored too: the server starts empty', async ({
    skip,
  }) => {
    await using all = await situation(programsOf(flavor, skip), AOF);
    await all.put('dump.rdb');
    await rm(join(all.server.dataDir, 'appendonlydir'), { recursive: true });
    await all.server.start();
    expect(await all.server.call('DBSIZE')).toBe(0);
  });

  test('as a base file without a manifest is overwritten, and the server starts empty', async ({ skip }) => {
    await using all = await situation(programsOf(flavor, skip), AOF);
    const folder = join(all.server.dataDir, 'appendonlydir');
    await rm(folder, { recursive: true });
    await mkdir(folder);
    await all.server.own(folder);
    await all.put('appendonlydir', 'appendonly.aof.1.base.rdb');
    const before = (await stat(join(folder, 'appendonly.aof.1.base.rdb'))).size;
    await all.server.start();
    expect(await all.server.call('DBSIZE')).toBe(0);
    expect((await stat(join(folder, 'appendonly.aof.1.base.rdb'))).size).toBeLessThan(before);
  });

  test('with appendonly no is loaded, and the append-only files can be written anew', async ({ skip }) => {
    await using all = await situation(programsOf(flavor, skip), AOF);
    await rename(join(all.server.dataDir, 'appendonlydir'), join(all.server.dataDir, 'aside'));
    await all.put('dump.rdb');
    await all.server.start({ appendonly: 'no' });
    expect(await all.server.call('DBSIZE')).toBe(100);
    await all.server.call('CONFIG', 'SET', 'appendonly', 'yes');
    await all.server.waitForInfo('aof_rewrite_in_progress', '0');
    await all.server.kill();
    await all.server.start();
    expect(await all.server.call('DBSIZE')).toBe(100);
  });

  test('as a base file with a manifest is loaded at once, and survives a kill', async ({ skip }) => {
    const programs = programsOf(flavor, skip);
    await using all = await situation(programs, AOF);
    const folder = join(all.server.dataDir, 'appendonlydir');
    await rm(folder, { recursive: true });
    await mkdir(folder);
    const { base, manifest } = seedManifest('appendonly.aof');
    await all.put('appendonlydir', base);
    await writeFile(join(folder, 'appendonly.aof.manifest'), manifest);
    await all.server.own(folder, join(folder, 'appendonly.aof.manifest'));
    const checked = await runChecker({
      product: programs.product,
      version: parseVersion(programs.version),
      tool: 'check-aof',
      path: join(folder, 'appendonly.aof.manifest'),
      binDir: programs.binDir,
      stallMs: 60_000,
      signal: never,
      sandbox: uncontainedSandbox(null),
    });
    expect(checked.state).toBe(programs.product === 'valkey' ? 'skipped' : 'passed');
    await all.server.start();
    expect(await all.server.call('DBSIZE')).toBe(100);
    expect((await readdir(folder)).some((name) => name.includes('incr'))).toBe(true);
    await all.server.call('SET', 'after', 1);
    await all.server.kill();
    await all.server.start();
    expect(await all.server.call('DBSIZE')).toBe(101);
  });
});

describe('files of each version on servers of each version', () => {
  const FLAVORS = ['system', 'redis-8.2', 'valkey-9.1'] as const;
  const pairs = FLAVORS.flatMap((writer) => FLAVORS.map((reader) => ({ writer, reader })));
  test.for(pairs)(
    'a file of $writer on $reader: the table of formats and the server agree',
    async ({ writer, reader }, { skip }) => {
      const [from, to] = [programsOf(writer, skip), programsOf(reader, skip)];
      await using folder = await temporaryFolder();
      const rdb = join(folder.path, 'backup.rdb');
      const { format } = await makeRdb(from, rdb, hundred);
      const server = { product: to.product, version: parseVersion(to.version) };
      const loadable = format === null ? 'unknown' : canLoadRdb(server, format);
      expect(['yes', 'no']).toContain(loadable);
      if (loadable === 'no') {
        expect(await failureOf(loadScratch(to, { rdb }))).toMatchObject({ code: 'BACKUP_CORRUPT' });
        return;
      }
      await using scratch = await loadScratch(to, { rdb });
      await using session = await RedisSession.open(scratch.connection, never);
      expect(await session.call('DBSIZE')).toBe('100');
    },
  );
});

/** What a manifest would hold of a backup. */
const sourceOf = (report: RdbReport, programs: RedisPrograms): RestoreSource => ({
  method: 'rdb',
  product: programs.product,
  version: programs.version,
  format: report.format,
  bytes: report.bytes,
  memoryBytes: Number(report.aux['used-mem']),
  evictionPolicy: 'noeviction',
  databases: report.counts.databases,
  moduleTypes: report.counts.moduleTypes,
  modules: [],
});
async function planFor(server: RedisServer, source: RestoreSource): Promise<ReturnType<typeof planRestore>> {
  await using session = await RedisSession.open(redisConnectionSchema.parse(server.connection), never);
  const facts = await readServerFacts(session);
  return planRestore(source, {
    facts,
    dataDir: undefined,
    unpersisted: [],
    freeDiskBytes: 2 ** 40,
    availableMemoryBytes: 2 ** 40,
  });
}
async function swapIn(server: RedisServer, files: ServerFiles, content: NewFiles): Promise<void> {
  const request = { files, restoreId: RESTORE_ID };
  await stageFiles(request, content, await ownershipOf(files));
  await server.stop();
  await setAside(request);
  await placeFiles(request);
  await server.start();
}

eachFlavor('a restore of %s', (flavor) => {
  test.for(['no', 'yes'])(
    'of a snapshot with appendonly %s serves the recovery point after a kill, and undo serves what was there',
    async (appendonly, { skip }) => {
      const programs = programsOf(flavor, skip);
      await using folder = await temporaryFolder();
      const rdb = join(folder.path, 'backup.rdb');
      await using server = await startRedis({
        programs,
        // What was acknowledged survives the kill.
        config: { appendonly, appenddirname: 'aof', dbfilename: 'my.rdb', appendfsync: 'always' },
      });
      await seedKeys(server, 200);
      await server.call('SAVE');
      const file = new Collector();
      const report = await copyRdbFile({ path: join(server.dataDir, 'my.rdb'), notBefore: 0, signal: never }, file);
      await writeFile(rdb, file.bytes);
      expect(judgeRdb(report)).toEqual([]);
      const recoveryPoint = await contents(server);

      await server.call('FLUSHALL');
      await server.call('SET', 'later', 1);
      const later = await contents(server);
      const plan = await planFor(server, sourceOf(report, programs));
      expect(plan).toMatchObject({ refusals: [], way: appendonly === 'yes' ? 'seed' : 'plain' });
      expect(plan.saveBeforeStop).toBe(appendonly === 'no');
      if (plan.saveBeforeStop) await server.call('SAVE');
      if (plan.files === null || plan.way === 'set') throw new Error('no files');
      const probe = readinessProbe(redisConnectionSchema.parse(server.connection));
      expect(await probe(never)).toBe(true);
      await swapIn(server, plan.files, {
        way: plan.way,
        rdb: async (sink) => await pipeline(createReadStream(rdb), sink),
      });
      expect(await contents(server)).toEqual(recoveryPoint);
      await server.call('SET', 'after', 1);
      await server.call('DEL', 'after');
      if (appendonly === 'no') await server.call('SAVE');
      await server.kill();
      expect(await probe(never)).toBe(false);
      await server.start();
      expect(await contents(server)).toEqual(recoveryPoint);

      await server.stop();
      await returnFiles({ files: plan.files, restoreId: RESTORE_ID });
      await server.start();
      expect(await contents(server)).toEqual(later);
    },
  );

  test('of an append-only set serves the recovery point, and undo what was there', async ({ skip }) => {
    const programs = programsOf(flavor, skip);
    await using server = await startRedis({
      programs,
      config: { appendonly: 'yes', appendfsync: 'always', appendfilename: '"my files"' },
    });
    await seedKeys(server);
    await server.call('BGREWRITEAOF');
    await server.waitForInfo('aof_rewrite_in_progress', '0');
    await server.call('SET', 'behind the base', 1);
    const recoveryPoint = await contents(server);
    const folder = { path: join(server.dataDir, 'appendonlydir'), appendFilename: 'my files' };
    const members: { name: string; bytes: Buffer }[] = [];
    let manifest: string;
    {
      await using set = await AofSet.open(folder, never);
      manifest = set.manifest();
      for (const member of set.members) {
        const sink = new Collector();
        await set.copy(member, sink, never);
        members.push({ name: member.entry.name, bytes: sink.bytes });
      }
    }
    await server.call('FLUSHALL');
    const files = {
      dir: server.dataDir,
      rdbName: 'dump.rdb',
      appendFolderName: 'appendonlydir',
      appendFilename: 'my files',
    };
    await swapIn(server, files, {
      way: 'set',
      manifest,
      members: members.map(({ name, bytes }) => ({ name, write: async (sink) => await pipeline([bytes], sink) })),
    });
    expect(await contents(server)).toEqual(recoveryPoint);
    await server.stop();
    await returnFiles({ files, restoreId: RESTORE_ID });
    await server.start();
    expect(await server.call('DBSIZE')).toBe(0);
  });

  test('of a backup of the other family is refused', async ({ skip }) => {
    const programs = programsOf(flavor, skip);
    const other = programsOf(flavor === 'valkey-9.1' ? 'redis-8.2' : 'valkey-9.1', skip);
    await using folder = await temporaryFolder();
    const report = await makeRdb(other, join(folder.path, 'backup.rdb'), hundred);
    await using server = await startRedis({ programs });
    const { refusals } = await planFor(server, sourceOf(report, other));
    expect(refusals.map(({ code }) => code)).toContain('FORMAT_NOT_READABLE');
  });
});

test('a master with a replica is refused, and so is the replica', async ({ skip }) => {
  const programs = programsOf('system', skip);
  await using folder = await temporaryFolder();
  const report = await makeRdb(programs, join(folder.path, 'backup.rdb'), hundred);
  await using master = await startRedis();
  await using replica = await startRedis({
    config: { replicaof: `127.0.0.1 ${master.port}`, masterauth: master.password },
  });
  await replica.waitForInfo('master_link_status', 'up');
  const codes = async (server: RedisServer): Promise<string[]> =>
    (await planFor(server, sourceOf(report, programs))).refusals.map(({ code }) => code);
  expect(await codes(master)).toEqual(['SERVER_HAS_REPLICAS']);
  expect(await codes(replica)).toEqual(['SERVER_IS_REPLICA']);
});
