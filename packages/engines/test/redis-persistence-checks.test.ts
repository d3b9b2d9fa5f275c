import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemWaitingClock } from '@lastgood/host';
import { type RedisConfig, type RedisServer, seedKeys, startRedis, temporaryFolder } from '@lastgood/testkit';
import { describe, expect, test } from 'vitest';
import {
  ACL_RULES,
  AofSet,
  aclLine,
  aofFolderOf,
  checkPersistence,
  copyRdbFile,
  dumpByReplication,
  judgeRdb,
  RedisSession,
  rdbPathOf,
  readServerFacts,
  redisConnectionSchema,
  type ServerFacts,
  serverFilesOf,
  takeSnapshot,
} from '../src/redis/index.ts';
import { Collector, failureOf } from './support/collector.ts';
import { eachFlavor, programsOf } from './support/redis-flavors.ts';

const never = new AbortController().signal;
const unknown = { availableBytes: null, overcommit: null };
async function factsOf(server: RedisServer, change: object = {}): Promise<ServerFacts> {
  await using session = await RedisSession.open(
    redisConnectionSchema.parse({ ...server.connection, ...change }),
    never,
  );
  return await readServerFacts(session);
}

describe('the persistence of a server', () => {
  test.for<{ config: RedisConfig; codes: string[] }>([
    { config: { save: '3600 1' }, codes: [] },
    { config: { appendonly: 'yes' }, codes: [] },
    { config: { save: '' }, codes: ['NO_PERSISTENCE'] },
    { config: { appendonly: 'yes', appendfsync: 'no' }, codes: ['FSYNC_OFF'] },
    { config: { appendonly: 'yes', 'auto-aof-rewrite-percentage': '0' }, codes: ['AOF_REWRITE_OFF'] },
    { config: { save: '3600 1', rdbchecksum: 'no' }, codes: ['RDB_CHECKSUM_OFF'] },
    { config: { save: '3600 1', maxmemory: '1gb', 'maxmemory-policy': 'allkeys-lru' }, codes: ['EVICTS_KEYS'] },
    { config: { save: '3600 1', 'maxmemory-policy': 'allkeys-lru' }, codes: [] },
  ])('with $config → $codes', async ({ config, codes }) => {
    await using server = await startRedis({ config });
    expect(checkPersistence(await factsOf(server), unknown).map(({ code }) => code)).toEqual(codes);
  });

  test('is warned of when a fork may fail, and only where the kernel may refuse it', async () => {
    await using server = await startRedis({ config: { save: '3600 1' } });
    const facts = await factsOf(server);
    const check = (overcommit: number, availableBytes: number): string[] =>
      checkPersistence(facts, { overcommit, availableBytes }).map(({ code }) => code);
    expect(check(0, 1_000)).toEqual(['FORK_MAY_FAIL']);
    expect(check(1, 1_000)).toEqual([]);
    expect(check(0, 2 ** 40)).toEqual([]);
  });

  test('is an error when the last save or write failed', async () => {
    await using server = await startRedis({ config: { save: '3600 1' } });
    const facts = await factsOf(server);
    const failed = { ...facts, lastSaveFailed: true, isAofEnabled: true, lastAofWriteFailed: true };
    expect(checkPersistence(failed, unknown).map(({ code, severity }) => [code, severity])).toEqual([
      ['LAST_SAVE_FAILED', 'error'],
      ['LAST_AOF_WRITE_FAILED', 'error'],
    ]);
    expect(checkPersistence({ ...facts, settings: null, settingsRefusal: 'NOPERM' }, unknown)).toEqual([
      { code: 'SETTINGS_UNKNOWN', severity: 'warning', params: { reason: 'NOPERM' } },
    ]);
  });
});

eachFlavor('the documented user of %s', (flavor) => {
  const password = createHash('sha256');
  const users = (Object.keys(ACL_RULES) as (keyof typeof ACL_RULES)[]).map((task) =>
    aclLine(task, task, password.copy().update('any').digest('hex')),
  );

  test('suffices for each method and can read no key', async ({ skip }) => {
    await using server = await startRedis({ programs: programsOf(flavor, skip), users, config: { appendonly: 'yes' } });
    const counts = await seedKeys(server);
    await using folder = await temporaryFolder();
    const passwordFile = join(folder.path, 'password');
    await writeFile(passwordFile, 'any', { mode: 0o600 });
    const as = (user: string) => redisConnectionSchema.parse({ ...server.connection, user, passwordFile });

    const facts = await factsOf(server, { user: 'rdb', passwordFile });
    expect(facts).toMatchObject({ isWatchedBySentinel: false, settingsRefusal: null });
    const files = serverFilesOf(facts.settings, undefined);
    if (files === null) throw new Error('no settings');
    await using session = await RedisSession.open(as('rdb'), never);
    const options = { clock: systemWaitingClock, signal: never, timeoutMs: 60_000 };
    const { notBefore } = await takeSnapshot(session, options);
    const byFile = await copyRdbFile({ path: rdbPathOf(files), notBefore, signal: never }, new Collector());
    expect(judgeRdb(byFile)).toEqual([]);
    expect(await failureOf(session.call('GET', 'string:short'))).toMatchObject({ replyCode: 'NOPERM' });

    const request = { connection: as('replication'), serverVersion: facts.version, signal: never };
    const byReplication = await dumpByReplication(request, new Collector());
    expect(byReplication.counts.types).toEqual(counts.types);

    const aofFacts = await factsOf(server, { user: 'aof', passwordFile });
    const aofFiles = serverFilesOf(aofFacts.settings, undefined);
    if (aofFiles === null) throw new Error('no settings');
    await using set = await AofSet.open(aofFolderOf(aofFiles), never);
    expect(set.members.length).toBeGreaterThan(0);

    await using stopping = await RedisSession.open(as('restore'), never);
    await failureOf(stopping.call('SHUTDOWN', 'NOSAVE'));
    await server.stop();
    await server.start();
  });
});
