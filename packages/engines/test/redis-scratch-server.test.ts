import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { Failure } from '@lastgood/core';
import { type RedisServer, redisPrograms, seedKeys, startRedis, temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RedisSession, readInfo, sweepScratchServers } from '../src/redis/index.ts';
import { failureOf } from './support/collector.ts';
import { eachFlavor, programsOf } from './support/redis-flavors.ts';
import { loadScratch, scratchConnection } from './support/redis-scratch.ts';

const WAIT = { timeout: 20_000 };
const never = new AbortController().signal;
const cleanup = new AsyncDisposableStack();
let server: RedisServer;
let rdb: string;

beforeAll(async () => {
  server = cleanup.use(await startRedis());
  const folder = cleanup.use(await temporaryFolder());
  await seedKeys(server);
  await server.call('SAVE');
  rdb = join(folder.path, 'dump.rdb');
  await copyFile(join(server.dataDir, 'dump.rdb'), rdb);
});
afterAll(() => cleanup.disposeAsync());

/** A folder for scratch servers, which the user that runs them can reach. */
async function scratchFolder(): Promise<AsyncDisposable & { path: string }> {
  const folder = await temporaryFolder();
  await chmod(folder.path, 0o711);
  return folder;
}
const isGone = async (pid: number): Promise<boolean> =>
  /State:\s+Z/.test(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => 'State: Z'));
const leftIn = async (folder: string): Promise<string[]> => await readdir(folder);

eachFlavor('a scratch server of %s', (flavor) => {
  test('loads an RDB file and an append-only folder', async ({ skip }) => {
    const programs = programsOf(flavor, skip);
    await using source = await startRedis({ programs, config: { appendonly: 'yes' } });
    const counts = await seedKeys(source);
    const keys = Object.values(counts.databases).reduce((sum, database) => sum + database.keys, 0);
    await source.call('SAVE');
    await source.stop();
    for (const files of [{ rdb: join(source.dataDir, 'dump.rdb') }, { aof: join(source.dataDir, 'appendonlydir') }]) {
      await using scratch = await loadScratch(programs, files);
      await using session = await RedisSession.open(scratch.connection, never);
      const keyspace = (await readInfo(session, 'keyspace')).keyspace();
      expect(keyspace).toEqual(Object.fromEntries(Object.entries(counts.databases).map(([db, count]) => [db, count])));
      if ('rdb' in files) expect(scratch.keysLoaded).toBe(keys);
    }
  });
});

describe('a scratch server', () => {
  test('is reached by its socket and its password alone, runs without privileges, and leaves nothing', async () => {
    await using folder = await scratchFolder();
    const connection = scratchConnection({ scratchFolder: folder.path });
    let pid: number;
    {
      await using scratch = await loadScratch(server.programs, { rdb }, { connection });
      await using session = await RedisSession.open(scratch.connection, never);
      const info = await readInfo(session, 'server');
      pid = info.number('process_id') ?? 0;
      expect(info.number('tcp_port')).toBe(0);
      expect(await session.call('CONFIG', 'GET', 'save')).toEqual(['save', '']);
      await expect(session.call('SET', 'a', 'b')).rejects.toMatchObject({ replyCode: 'READONLY' });
      const open = { ...scratch.connection, passwordFile: undefined };
      await using unauthenticated = await RedisSession.open(open, never);
      await expect(unauthenticated.call('PING')).rejects.toMatchObject({ replyCode: 'NOAUTH' });
      const owned = await stat(dirname(scratch.connection.socket ?? ''));
      expect(owned.mode & 0o777).toBe(0o700);
      const { uid } = await stat(`/proc/${pid}`);
      expect(uid).toBe(owned.uid);
      if (process.getuid?.() === 0) expect(uid).not.toBe(0);
    }
    expect(await isGone(pid)).toBe(true);
    expect(await leftIn(folder.path)).toEqual([]);
  });

  test.for<{ why: string; change: object; code: string }>([
    {
      why: 'a file that it cannot load',
      change: { place: (dir: string) => writeFile(join(dir, 'dump.rdb'), 'REDIS0010 hello') },
      code: 'BACKUP_CORRUPT',
    },
    {
      why: 'a format of the other product',
      change: { place: (dir: string) => writeFile(join(dir, 'dump.rdb'), 'VALKEY080') },
      code: 'BACKUP_CORRUPT',
    },
    { why: 'too little disk', change: { needDiskBytes: 2 ** 60 }, code: 'NO_SPACE' },
    { why: 'too little memory', change: { needMemoryBytes: 2 ** 50 }, code: 'NO_SPACE' },
    { why: 'a program that does not exist', change: { program: '/nowhere/redis-server' }, code: 'TOOL_NOT_FOUND' },
    {
      why: 'files that cannot be placed',
      change: { place: () => Promise.reject(new Failure('IO_ERROR', 'no')) },
      code: 'IO_ERROR',
    },
  ])('fails for $why with $code and leaves nothing', async ({ change, code }) => {
    await using folder = await scratchFolder();
    const connection = scratchConnection({ scratchFolder: folder.path });
    const failure = await failureOf(loadScratch(server.programs, { rdb }, { connection, ...change }));
    expect(failure).toMatchObject({ code });
    expect(failure.message).not.toContain('hello');
    expect(await leftIn(folder.path)).toEqual([]);
  });

  test('that cannot start for another reason does not condemn the files', async ({ skip }) => {
    if (process.getuid?.() !== 0) return skip(true, 'another user needs root');
    await using closed = await temporaryFolder();
    const connection = scratchConnection({ scratchFolder: closed.path });
    expect(await failureOf(loadScratch(server.programs, { rdb }, { connection }))).toMatchObject({
      code: 'TOOL_FAILED',
    });
    expect(await leftIn(closed.path)).toEqual([]);
  });

  test('that is killed while it loads does not condemn the files', async () => {
    await using folder = await scratchFolder();
    const connection = scratchConnection({ scratchFolder: folder.path });
    const program = join(folder.path, 'redis-server');
    await writeFile(program, '#!/bin/sh\nkill -9 $$\n', { mode: 0o755 });
    const change = { connection, program };
    expect(await failureOf(loadScratch(server.programs, { rdb }, change))).toMatchObject({ code: 'TOOL_FAILED' });
  });

  test('fails for a folder that is too long for a socket', async () => {
    await using folder = await scratchFolder();
    const long = join(folder.path, 'x'.repeat(90));
    await mkdir(long);
    const tooLong = scratchConnection({ scratchFolder: long });
    expect(await failureOf(loadScratch(server.programs, { rdb }, { connection: tooLong }))).toMatchObject({
      code: 'CONFIG_INVALID',
    });
    expect(await leftIn(long)).toEqual([]);
  });

  test('that loads too long is ended, and so is one that is canceled', async () => {
    await using folder = await scratchFolder();
    const slow = async (dataDir: string): Promise<void> => {
      await copyFile(rdb, join(dataDir, 'dump.rdb'));
    };
    const connection = scratchConnection({ scratchFolder: folder.path, snapshotMs: 1_000 });
    // A launcher that starts something which never listens.
    const launch = async (call: { signal: AbortSignal }): Promise<{ exitCode: number }> => {
      if (!call.signal.aborted) await once(call.signal, 'abort');
      return { exitCode: 0 };
    };
    expect(await failureOf(loadScratch(server.programs, { rdb }, { connection, place: slow, launch }))).toMatchObject({
      code: 'JOB_DEADLINE',
    });
    const abort = new AbortController();
    const canceled = failureOf(loadScratch(server.programs, { rdb }, { connection, launch, signal: abort.signal }));
    abort.abort(new Failure('JOB_CANCELED', 'canceled by a person'));
    expect(await canceled).toMatchObject({ code: 'JOB_CANCELED', message: 'canceled by a person' });
    expect(await leftIn(folder.path)).toEqual([]);
  });

  test('dies with the agent, and what is left on the disk is swept by the next one alone', async () => {
    await using folder = await scratchFolder();
    const connection = scratchConnection({ scratchFolder: folder.path });
    const { server: program } = await redisPrograms();
    const script = join(import.meta.dirname, 'support', 'redis-scratch-child.ts');
    const child = spawn(process.execPath, [script, program, rdb, folder.path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = await once(createInterface({ input: child.stdout }), 'line');
    const pid = Number(line);
    expect(await sweepScratchServers(connection)).toEqual([]);
    expect(await leftIn(folder.path)).toHaveLength(1);
    child.kill('SIGKILL');
    await once(child, 'close');
    await expect.poll(() => isGone(pid), WAIT).toBe(true);
    await mkdir(join(folder.path, 'lastgood-scratch-1-1-other'));
    expect(await sweepScratchServers(connection)).toHaveLength(1);
    expect(await leftIn(folder.path)).toEqual(['lastgood-scratch-1-1-other']);
  });
});
