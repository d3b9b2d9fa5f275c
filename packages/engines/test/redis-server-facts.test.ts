import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from '@lastgood/host';
import { freePort, type RedisOptions, redisPrograms, startRedis, temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { RedisSession, readServerFacts, redisConnectionSchema, type ServerFacts } from '../src/redis/index.ts';
import { eachFlavor, programsOf } from './support/redis-flavors.ts';

const never = new AbortController().signal;
const WAIT = { timeout: 20_000 };
async function factsOf(connection: object): Promise<ServerFacts> {
  await using session = await RedisSession.open(redisConnectionSchema.parse(connection), never);
  return await readServerFacts(session);
}

eachFlavor('a server of %s', (flavor) => {
  test('reports product, version, files, settings and keys', async ({ skip }) => {
    const programs = programsOf(flavor, skip);
    await using server = await startRedis({
      programs,
      config: { appendonly: 'yes', appenddirname: 'aof', maxmemory: '100mb', 'maxmemory-policy': 'allkeys-lru' },
    });
    await server.callIn(4, ['SET', 'a', 1], ['SET', 'b', 1, 'EX', 1000]);
    await server.call('FUNCTION', 'LOAD', "#!lua name=l\nredis.register_function('f', function() return 1 end)");
    const facts = await factsOf(server.connection);
    expect(facts).toMatchObject({
      product: programs.product,
      version: programs.version,
      mode: 'standalone',
      role: 'master',
      connectedReplicas: 0,
      isInSync: null,
      isWatchedBySentinel: false,
      isLoading: false,
      runId: await server.info('run_id'),
      replicationId: await server.info('master_replid'),
      processId: await server.pid(),
      configFile: server.configFile,
      executable: programs.server,
      libraries: 1,
      memory: { limitBytes: 100 * 1024 * 1024, evictionPolicy: 'allkeys-lru' },
      keyspace: { 4: { keys: 2, expires: 1 } },
      isAofEnabled: true,
      lastSaveFailed: false,
      settingsRefusal: null,
      settings: { dir: server.dataDir, dbfilename: 'dump.rdb', appendonly: 'yes', appenddirname: 'aof', save: '' },
    });
    expect(facts.memory.usedBytes).toBeGreaterThan(100_000);
  });
});

const narrow: RedisOptions = { users: ['user narrow on >narrow-secret resetkeys resetchannels -@all +info'] };

test('a user with nothing but INFO learns all but settings and clients, and why', async () => {
  await using server = await startRedis(narrow);
  await using folder = await temporaryFolder();
  const passwordFile = join(folder.path, 'password');
  await writeFile(passwordFile, 'narrow-secret', { mode: 0o600 });
  const facts = await factsOf({ ...server.connection, user: 'narrow', passwordFile });
  expect(facts).toMatchObject({
    product: 'redis',
    settings: null,
    settingsRefusal: 'NOPERM',
    isWatchedBySentinel: null,
  });
});

test('a renamed CONFIG is reported as refused', async () => {
  await using server = await startRedis({ config: { 'rename-command': 'CONFIG ""' } });
  expect(await factsOf(server.connection)).toMatchObject({ settings: null, settingsRefusal: 'ERR' });
});

test('a master knows its replicas, a replica whether it is in sync, and both the history of their data', async () => {
  await using master = await startRedis();
  await using replica = await startRedis({
    config: { replicaof: `127.0.0.1 ${master.port}`, masterauth: master.password },
  });
  await replica.waitForInfo('master_link_status', 'up');
  const [first, second] = [await factsOf(master.connection), await factsOf(replica.connection)];
  expect(first).toMatchObject({ role: 'master', connectedReplicas: 1 });
  expect(second).toMatchObject({ role: 'replica', isInSync: true, replicationId: first.replicationId });
  await master.stop();
  await replica.waitForInfo('master_link_status', 'down');
  expect(await factsOf(replica.connection)).toMatchObject({ isInSync: false });
});

test('a cluster node is recognized', async () => {
  await using node = await startRedis({ config: { 'cluster-enabled': 'yes' } });
  expect(await factsOf(node.connection)).toMatchObject({ mode: 'cluster' });
});

test('a server that a Sentinel watches knows it, and the Sentinel is recognized', async () => {
  const programs = await redisPrograms();
  await using server = await startRedis({ programs });
  await using folder = await temporaryFolder();
  const config = join(folder.path, 'sentinel.conf');
  const port = await freePort();
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${folder.path}`,
    `sentinel monitor shop 127.0.0.1 ${server.port} 1`,
    `sentinel auth-pass shop ${server.password}`,
  ];
  await writeFile(config, `${lines.join('\n')}\n`);
  const stop = new AbortController();
  const running = runTool({
    file: programs.server,
    args: [config, '--sentinel'],
    signal: stop.signal,
    timeoutMs: 60_000,
  }).catch(() => undefined);
  try {
    await expect.poll(async () => (await factsOf(server.connection)).isWatchedBySentinel, WAIT).toBe(true);
    expect(await factsOf({ host: '127.0.0.1', port })).toMatchObject({ mode: 'sentinel' });
  } finally {
    stop.abort();
    await running;
  }
});
