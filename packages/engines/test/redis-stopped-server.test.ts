import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type RedisConfig, redisPrograms, startRedis, temporaryFolder } from '@lastgood/testkit';
import { describe, expect, test } from 'vitest';
import { redisConnectionSchema } from '../src/redis/connection-schema.ts';
import { findServer, systemIdOf } from '../src/redis/open-server.ts';
import { parseSize, readStoppedServer } from '../src/redis/stopped-server.ts';

const never = new AbortController().signal;
const hintsOf = (...configFiles: string[]) => ({ configFiles, product: 'redis' as const });

/** The files of a server that does not run, and the connection to it. */
async function stoppedServer(folder: string, text: string, more: object = {}) {
  const { binDir } = await redisPrograms();
  const configFile = join(folder, 'redis.conf');
  await writeFile(configFile, text);
  return {
    configFile,
    connection: redisConnectionSchema.parse({ host: '127.0.0.1', port: 6400, binDir, ...more }),
  };
}

describe('a server that does not run', () => {
  test('has the settings and the identity that it reports while it runs', async () => {
    const config: RedisConfig = {
      appendonly: 'yes',
      appenddirname: 'aof',
      appendfilename: '"my files"',
      dbfilename: 'my.rdb',
      maxmemory: '200mb',
      'maxmemory-policy': 'volatile-lru',
    };
    await using server = await startRedis({ config });
    const connection = redisConnectionSchema.parse(server.connection);
    const hints = async () => hintsOf(server.configFile);
    await using running = await findServer(connection, hints, never);
    expect(running.session).not.toBeNull();
    await server.stop();
    await using stopped = await findServer(connection, hints, never);
    expect(stopped.session).toBeNull();
    expect(systemIdOf(stopped.facts)).toBe(systemIdOf(running.facts));
    const { product, version, mode, role, configFile, isAofEnabled } = running.facts;
    expect(stopped.facts).toMatchObject({ product, version, mode, role, configFile, isAofEnabled });
    const { dir, dbfilename, appendonly, appendfilename, appenddirname, databases } = running.facts.settings ?? {};
    expect(stopped.facts.settings).toMatchObject({
      dir,
      dbfilename,
      appendonly,
      appendfilename,
      appenddirname,
      databases,
    });
    const { limitBytes, evictionPolicy } = running.facts.memory;
    expect(stopped.facts.memory).toMatchObject({ limitBytes, evictionPolicy, usedBytes: 0 });
  });

  test('is not looked for in files when the agent has no access to them', async () => {
    await using folder = await temporaryFolder();
    const { connection, configFile } = await stoppedServer(folder.path, 'port 6400\n', { fileAccess: false });
    const work = findServer(connection, async () => hintsOf(configFile), never);
    await expect(work).rejects.toMatchObject({ code: 'DATABASE_UNREACHABLE' });
  });

  test('is not taken for another server of the host, whose configuration names another address', async () => {
    await using folder = await temporaryFolder();
    const { connection, configFile } = await stoppedServer(folder.path, 'port 6401\ndir /var/lib/other\n');
    await expect(readStoppedServer(connection, hintsOf(configFile), never)).rejects.toMatchObject({
      code: 'DATABASE_UNREACHABLE',
      remedy: expect.stringContaining('configFile'),
    });
    // The agent file decides, such as for a container whose port is mapped.
    const named = redisConnectionSchema.parse({ ...connection, configFile });
    const { settings } = await readStoppedServer(named, hintsOf(), never);
    expect(settings?.dir).toBe('/var/lib/other');
  });

  test('is recognized as a replica and as a cluster node', async () => {
    await using folder = await temporaryFolder();
    const lines = 'port 6400\nreplicaof 10.0.0.1 6379\ncluster-enabled yes\n';
    const { connection, configFile } = await stoppedServer(folder.path, lines);
    const facts = await readStoppedServer(connection, hintsOf(configFile), never);
    expect(facts).toMatchObject({ role: 'replica', isInSync: false, mode: 'cluster', isWatchedBySentinel: null });
  });

  test('has the last of the lines of one file, and is refused when two files disagree or one cannot be read', async () => {
    await using folder = await temporaryFolder();
    await mkdir(join(folder.path, 'more'));
    const included = join(folder.path, 'more', 'local.conf');
    const lines = `port 6400\nappendonly no\ndir ./\ninclude ${included}\nappendonly yes\n`;
    const { connection, configFile } = await stoppedServer(folder.path, lines, { dataDir: '/srv/redis' });
    const read = () => readStoppedServer(connection, hintsOf(configFile), never);
    await writeFile(included, 'maxmemory 1gb\n');
    expect(await read()).toMatchObject({
      isAofEnabled: true,
      settings: { dir: '/srv/redis' },
      memory: { limitBytes: 2 ** 30 },
    });
    await writeFile(included, 'appendonly no\n');
    await expect(read()).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await rm(included);
    await mkdir(included);
    await expect(read()).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});

test.for([
  ['100', 100],
  ['1k', 1000],
  ['1kb', 1024],
  ['2MB', 2 * 1024 ** 2],
  ['1g', 1e9],
  ['1gb', 2 ** 30],
  ['many', null],
] as const)('the size %s is %s bytes', ([text, bytes]) => {
  expect(parseSize(text)).toBe(bytes);
});
