import { randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { Failure } from '@lastgood/core';
import { type KeyCounts, type RedisServer, seedKeys, startRedis, temporaryFolder } from '@lastgood/testkit';
import { describe, expect, test } from 'vitest';
import {
  dumpByReplication,
  judgeRdb,
  type RdbReport,
  type RedisConnection,
  redisConnectionSchema,
  walkRdb,
} from '../src/redis/index.ts';
import { Collector, failureOf } from './support/collector.ts';
import { eachFlavor, programsOf } from './support/redis-flavors.ts';

const never = new AbortController().signal;
const dump = async (
  server: Pick<RedisServer, 'connection' | 'programs'>,
  change: object = {},
  sink = new Collector(),
  signal = never,
): Promise<RdbReport> => {
  const connection = redisConnectionSchema.parse({ ...server.connection, ...change });
  return await dumpByReplication({ connection, serverVersion: server.programs.version, signal }, sink);
};
function expectCounts(report: RdbReport, counts: KeyCounts): void {
  expect(judgeRdb(report)).toEqual([]);
  expect(report.counts.types).toEqual(counts.types);
  expect(report.counts.functions).toBe(counts.functions);
}

eachFlavor('a snapshot by replication of %s', (flavor) => {
  test.for(['yes', 'no'])('is whole (repl-diskless-sync %s)', async (diskless, { skip }) => {
    await using server = await startRedis({
      programs: programsOf(flavor, skip),
      config: { 'repl-diskless-sync': diskless },
    });
    const counts = await seedKeys(server, 5_000);
    const sink = new Collector();
    const report = await dump(server, {}, sink);
    expectCounts(report, counts);
    expect(await walkRdb(Readable.from([sink.bytes]))).toEqual(report);
    expect(await server.info('connected_slaves')).toBe('0');
  });

  test('needs a user with the commands of a replica and no other', async ({ skip }) => {
    await using server = await startRedis({
      programs: programsOf(flavor, skip),
      users: ['user replica on nopass resetkeys resetchannels -@all +sync +replconf'],
    });
    const counts = await seedKeys(server);
    expectCounts(await dump(server, { user: 'replica' }), counts);
  });

  test('fails when the server dies in the middle', async ({ skip }) => {
    await using server = await startRedis({
      programs: programsOf(flavor, skip),
      config: { 'rdb-key-save-delay': '2000' },
    });
    await seedKeys(server, 3_000);
    const failed = failureOf(dump(server));
    await server.waitForInfo('rdb_bgsave_in_progress', '1');
    await server.kill();
    expect(await failed).toMatchObject({ code: 'DATABASE_UNREACHABLE' });
  });
});

describe('a snapshot by replication fails', () => {
  test.for([
    { why: 'without a password', change: { passwordFile: undefined }, code: 'NOAUTH' },
    { why: 'with a wrong password', change: { user: 'narrow' }, code: 'WRONGPASS' },
    { why: 'without the right', change: { user: 'open' }, code: 'NOPERM' },
  ])('$why, with the code of the reply and no text of the server', async ({ change, code }) => {
    await using server = await startRedis({
      users: ['user narrow on >secret +ping', 'user open on nopass +ping'],
    });
    const failure = await failureOf(dump(server, change));
    expect(failure).toMatchObject({ code: 'DATABASE_REFUSED', replyCode: code });
    expect(JSON.stringify(failure) + failure.message).not.toContain(server.password);
  });

  test('when no save begins, when no bytes come, and when it is canceled', async () => {
    await using server = await startRedis({ config: { 'repl-diskless-sync-delay': '60' } });
    expect(await failureOf(dump(server, { snapshotMs: 1_000 }))).toMatchObject({ code: 'TOOL_STALLED' });
    await server.call('CONFIG', 'SET', 'repl-diskless-sync-delay', '0');
    await server.call('CONFIG', 'SET', 'rdb-key-save-delay', '3000000');
    for (const key of ['a', 'b', 'c', 'd']) await server.call('SET', key, randomBytes(100_000));
    expect(await failureOf(dump(server, { stallMs: 1_000 }))).toMatchObject({ code: 'TOOL_STALLED' });
    const abort = new AbortController();
    const canceled = failureOf(dump(server, {}, new Collector(), abort.signal));
    await server.waitForInfo('rdb_bgsave_in_progress', '1');
    abort.abort(new Failure('JOB_DEADLINE', 'too late'));
    expect(await canceled).toMatchObject({ code: 'JOB_DEADLINE' });
  });

  test('when nothing listens', async () => {
    const connection = redisConnectionSchema.parse({ socket: '/nowhere/redis.sock' });
    const failure = await failureOf(
      dumpByReplication({ connection, serverVersion: '7.0.0', signal: never }, new Collector()),
    );
    expect(failure).toMatchObject({ code: 'DATABASE_UNREACHABLE' });
  });
});

describe('a server that misbehaves', () => {
  const MARK = 'a'.repeat(40);
  /** Accepts every command of a replica, and sends the bytes as reply to SYNC. */
  async function impostor(reply: string | Buffer): Promise<AsyncDisposable & { connection: RedisConnection }> {
    const folder = await temporaryFolder();
    const socket = join(folder.path, 's');
    const server: Server = createServer((client) => {
      client.on('error', () => undefined);
      client.on('data', (bytes) => {
        if (bytes.includes('SYNC')) client.end(reply);
        else client.write('+OK\r\n');
      });
    }).listen(socket);
    return {
      connection: redisConnectionSchema.parse({ socket }),
      [Symbol.asyncDispose]: async () => {
        server.close();
        await folder[Symbol.asyncDispose]();
      },
    };
  }
  test.for([
    { what: 'closes at once', reply: '', code: 'DATABASE_UNREACHABLE' },
    { what: 'closes before the mark', reply: `$EOF:${MARK}\r\nREDIS0010`, code: 'DATABASE_UNREACHABLE' },
    { what: 'closes before the length', reply: '$100\r\nREDIS0010', code: 'DATABASE_UNREACHABLE' },
    {
      what: 'sends a damaged file and reports success',
      reply: `$EOF:${MARK}\r\nREDIS0010${MARK}`,
      code: 'TOOL_FAILED',
    },
    { what: 'sends an empty file', reply: '$0\r\n', code: 'TOOL_FAILED' },
    { what: 'refuses', reply: '-ERR secret data\r\n', code: 'DATABASE_REFUSED' },
    { what: 'speaks another protocol', reply: 'x'.repeat(100_000), code: 'DATABASE_UNREACHABLE' },
  ])('and $what fails the snapshot', async ({ reply, code }) => {
    await using server = await impostor(reply);
    const request = { connection: server.connection, serverVersion: '7.0.0', signal: never };
    const failure = await failureOf(dumpByReplication(request, new Collector()));
    expect(failure).toMatchObject({ code });
    expect(failure.message).not.toContain('secret');
  });
});
