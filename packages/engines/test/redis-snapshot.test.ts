import { execFileSync } from 'node:child_process';
import { chmod, copyFile, mkdir, readFile, rename, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { systemWaitingClock } from '@lastgood/host';
import {
  type RedisOptions,
  type RedisServer,
  seedKeys,
  smallFileSystem,
  startRedis,
  temporaryFolder,
} from '@lastgood/testkit';
import { describe, expect, test } from 'vitest';
import {
  copyRdbFile,
  judgeRdb,
  RedisSession,
  redisConnectionSchema,
  type Snapshot,
  takeSnapshot,
} from '../src/redis/index.ts';
import { Collector, failureOf } from './support/collector.ts';
import { eachFlavor, programsOf } from './support/redis-flavors.ts';

const WAIT = { timeout: 20_000, interval: 10 };
const never = new AbortController().signal;
/** Each key takes so many microseconds to be saved. */
const slowly = (microseconds: number): RedisOptions => ({ config: { 'rdb-key-save-delay': String(microseconds) } });

async function snapshot(server: RedisServer, change: object = {}): Promise<Snapshot & { waits: Set<string> }> {
  const waits = new Set<string>();
  await using session = await RedisSession.open(redisConnectionSchema.parse(server.connection), never);
  const options = {
    clock: systemWaitingClock,
    signal: never,
    timeoutMs: 60_000,
    onWait: (reason: string) => waits.add(reason),
  };
  return { ...(await takeSnapshot(session, { ...options, ...change })), waits };
}
const rdbOf = (server: RedisServer): string => join(server.dataDir, 'dump.rdb');

eachFlavor('a snapshot of %s', (flavor) => {
  test('is of a new save, and its file holds what was written before', async ({ skip }) => {
    await using server = await startRedis({ programs: programsOf(flavor, skip) });
    const counts = await seedKeys(server);
    const { notBefore, runId } = await snapshot(server);
    expect(runId).toBe(await server.info('run_id'));
    const sink = new Collector();
    const report = await copyRdbFile({ path: rdbOf(server), notBefore, signal: never }, sink);
    expect(sink.bytes).toEqual(await readFile(rdbOf(server)));
    expect(judgeRdb(report)).toEqual([]);
    expect(report.counts.types).toEqual(counts.types);
    // At once again, within the same second.
    await snapshot(server);
    expect(await server.info('rdb_saves')).toBe('2');
  });

  test('waits for the save of another client, and takes its own', async ({ skip }) => {
    await using server = await startRedis({ programs: programsOf(flavor, skip), ...slowly(300_000) });
    await server.call('MSET', 'a', 1, 'b', 2, 'c', 3);
    await server.call('BGSAVE');
    await server.call('SET', 'later', 1);
    const { notBefore, waits } = await snapshot(server);
    expect(waits).toContain('other-save');
    const report = await copyRdbFile({ path: rdbOf(server), notBefore, signal: never }, new Collector());
    expect(report.counts.databases[0]?.keys).toBe(4);
  });

  test('is scheduled behind a rewrite of the AOF', async ({ skip }) => {
    await using server = await startRedis({ programs: programsOf(flavor, skip), ...slowly(300_000) });
    await server.call('MSET', 'a', 1, 'b', 2, 'c', 3);
    await server.call('BGREWRITEAOF');
    const { waits } = await snapshot(server);
    expect(waits).toContain('other-child');
  });

  test('A19, A21: fails when its process is killed, and when the server is restarted', async ({ skip }) => {
    await using server = await startRedis({ programs: programsOf(flavor, skip), ...slowly(1_000_000) });
    await server.call('MSET', 'a', 1, 'b', 2, 'c', 3);
    const pid = await server.pid();
    const killed = failureOf(snapshot(server));
    await server.waitForInfo('rdb_bgsave_in_progress', '1');
    execFileSync('pkill', ['-KILL', '-P', String(pid)]);
    expect(await killed).toMatchObject({ code: 'TOOL_FAILED' });
    const restarted = failureOf(snapshot(server));
    await server.waitForInfo('rdb_bgsave_in_progress', '1');
    await server.kill();
    expect(await restarted).toMatchObject({ code: 'DATABASE_UNREACHABLE' });
  });
});

describe('a snapshot fails', () => {
  test('when the data folder cannot be written to (A19)', async () => {
    await using server = await startRedis();
    await server.call('SET', 'a', 1);
    await server.call('SAVE');
    const before = await stat(rdbOf(server));
    await chmod(server.dataDir, 0o500);
    const failure = await failureOf(snapshot(server));
    expect(failure).toMatchObject({ code: 'TOOL_FAILED' });
    expect(failure.remedy).toContain('data folder');
    // The file of the last save is still there: its presence says nothing about the new one.
    expect((await stat(rdbOf(server))).ino).toBe(before.ino);
    await chmod(server.dataDir, 0o700);
    await snapshot(server);
  });

  test('when the disk is full (A19), and succeeds when it is not any more', async ({ skip }) => {
    await using disk = await smallFileSystem(8 * 1024 * 1024);
    if (disk.path === null) return skip(true, disk.reason);
    const dataDir = join(disk.path, 'data');
    await mkdir(dataDir);
    await chmod(disk.path, 0o755);
    await using server = await startRedis({ dataDir });
    await seedKeys(server, 5_000);
    await disk.fill();
    expect(await failureOf(snapshot(server))).toMatchObject({ code: 'TOOL_FAILED' });
    await disk.free();
    await snapshot(server);
  });

  test('when the command is disabled, and when the user may not run it', async () => {
    await using disabled = await startRedis({ config: { 'rename-command': 'BGSAVE ""' } });
    expect(await failureOf(snapshot(disabled))).toMatchObject({ code: 'DATABASE_REFUSED' });
    await using server = await startRedis({ users: ['user narrow on nopass -@all +info'] });
    const connection = redisConnectionSchema.parse({ socket: server.socket, user: 'narrow' });
    await using session = await RedisSession.open(connection, never);
    const options = { clock: systemWaitingClock, signal: never, timeoutMs: 60_000 };
    expect(await failureOf(takeSnapshot(session, options))).toMatchObject({ replyCode: 'NOPERM' });
  });

  test('when it takes too long, and when it is canceled', async () => {
    await using server = await startRedis(slowly(1_000_000));
    await server.call('MSET', 'a', 1, 'b', 2, 'c', 3, 'd', 4);
    expect(await failureOf(snapshot(server, { timeoutMs: 100 }))).toMatchObject({ code: 'JOB_DEADLINE' });
    const abort = new AbortController();
    const canceled = snapshot(server, { signal: abort.signal, onWait: () => abort.abort() });
    await expect(canceled).rejects.toThrow();
  });
});

test('with the rights of the documented user and nothing else a snapshot can be taken', async () => {
  await using server = await startRedis({ users: ['user narrow on nopass -@all +info +bgsave'] });
  await using session = await RedisSession.open(
    redisConnectionSchema.parse({ socket: server.socket, user: 'narrow' }),
    never,
  );
  await takeSnapshot(session, { clock: systemWaitingClock, signal: never, timeoutMs: 60_000 });
});

test('beside a stream of saves every snapshot is new and its file whole', async () => {
  await using server = await startRedis();
  await seedKeys(server, 2_000);
  const stop = new AbortController();
  const saving = (async () => {
    while (!stop.signal.aborted) await server.call('BGSAVE').catch(() => undefined);
  })();
  try {
    for (let round = 0; round < 5; round += 1) {
      await server.call('SET', 'round', round);
      const { notBefore } = await snapshot(server);
      const report = await copyRdbFile({ path: rdbOf(server), notBefore, signal: never }, new Collector());
      expect(judgeRdb(report)).toEqual([]);
    }
  } finally {
    stop.abort();
    await saving;
  }
});

describe('the file of a snapshot', () => {
  test('is the one that was opened, also when another takes its place while it is read', async () => {
    await using server = await startRedis({ config: { rdbcompression: 'no' } });
    await server.call('SET', 'big', Buffer.alloc(30 * 1024 * 1024, 'x'));
    const { notBefore } = await snapshot(server);
    const original = await readFile(rdbOf(server));
    const sink = new Collector({ highWaterMark: 1 });
    let replaced = false;
    const write = sink._write.bind(sink);
    sink._write = (chunk: Buffer, encoding: BufferEncoding, done: () => void) => {
      const next = (): void => write(chunk, encoding, done);
      if (replaced) return next();
      replaced = true;
      void server.call('SET', 'big', 'small').then(async () => {
        await server.call('SAVE');
        next();
      });
    };
    await copyRdbFile({ path: rdbOf(server), notBefore, signal: never }, sink);
    expect(sink.bytes.equals(original)).toBe(true);
    expect((await readFile(rdbOf(server))).length).toBeLessThan(original.length);
  });

  test('is refused when it is another file than the one of the server, such as of a wrong dataDir (A20)', async () => {
    await using server = await startRedis();
    await using elsewhere = await temporaryFolder();
    await server.call('SAVE');
    await expect
      .poll(
        async () =>
          Number(await server.info('server_time_usec')) / 1e6 - Number(await server.info('rdb_last_save_time')),
        WAIT,
      )
      .toBeGreaterThan(2);
    const old = join(elsewhere.path, 'dump.rdb');
    await copyFile(rdbOf(server), old);
    const { notBefore } = await snapshot(server);
    await utimes(old, new Date(), new Date());
    expect(await failureOf(copyRdbFile({ path: old, notBefore, signal: never }, new Collector()))).toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });

  test.for<{ what: string; make: (path: string, folder: string) => Promise<unknown>; code: string }>([
    { what: 'a symbolic link', make: (path, folder) => symlink(join(folder, 'real'), path), code: 'IO_ERROR' },
    { what: 'a folder', make: (path) => mkdir(path), code: 'IO_ERROR' },
    { what: 'a pipe', make: async (path) => execFileSync('mkfifo', [path]), code: 'IO_ERROR' },
    { what: 'missing', make: async () => undefined, code: 'IO_ERROR' },
    { what: 'damaged', make: (path) => writeFile(path, 'REDIS0010 and no more'), code: 'TOOL_FAILED' },
    { what: 'empty', make: (path) => writeFile(path, ''), code: 'TOOL_FAILED' },
  ])('is refused when it is $what', async ({ make, code }) => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, 'real'), 'REDIS0010');
    const path = join(folder.path, 'dump.rdb');
    await make(path, folder.path);
    expect(await failureOf(copyRdbFile({ path, notBefore: 0, signal: never }, new Collector()))).toMatchObject({
      code,
    });
  });

  test('is not copied further when the job is canceled', async () => {
    await using server = await startRedis({ config: { rdbcompression: 'no' } });
    await server.call('SET', 'big', Buffer.alloc(30 * 1024 * 1024, 'x'));
    await server.call('SAVE');
    const abort = new AbortController();
    const sink = new Collector();
    sink._write = () => abort.abort(new Failure('JOB_CANCELED', 'canceled by a person'));
    const copy = copyRdbFile({ path: rdbOf(server), notBefore: 0, signal: abort.signal }, sink);
    expect(await failureOf(copy)).toMatchObject({ message: 'canceled by a person' });
  });

  test('is refused when something writes into it while it is read', async () => {
    await using server = await startRedis();
    await seedKeys(server);
    const { notBefore } = await snapshot(server);
    const sink = new Collector();
    const write = sink._write.bind(sink);
    sink._write = (chunk: Buffer, encoding: BufferEncoding, done: () => void) => {
      void writeFile(rdbOf(server), 'x', { flag: 'a' }).then(() => write(chunk, encoding, done));
    };
    expect(await failureOf(copyRdbFile({ path: rdbOf(server), notBefore, signal: never }, sink))).toMatchObject({
      code: 'SOURCE_CHANGED',
    });
    await rename(rdbOf(server), `${rdbOf(server)}.old`);
  });
});
