import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ArtifactSink, type EngineContext, noSteps } from '@lastgood/core';
import { systemClock } from '@lastgood/host';
import { type RedisConfig, startRedis, temporaryFolder, testLimits } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { RDB, redis } from '../src/redis/index.ts';

const services = { target: 'cache', service: null, restoreFolders: {}, restoreTests: testLimits };
const contextIn = (workDir: string): EngineContext => ({
  workDir,
  signal: new AbortController().signal,
  clock: systemClock,
  steps: noSteps,
  progress: () => undefined,
  log: () => undefined,
});
const refuse = (): never => {
  throw new TypeError('nothing is stored');
};
const sink: ArtifactSink = { add: refuse, log: refuse };
/** What depends on the memory of the machine. */
const VARIES = 'FORK_MAY_FAIL';

test.for<{ what: string; config: RedisConfig; codes: string[] }>([
  { what: 'keeps nothing', config: { save: '""' }, codes: ['NO_PERSISTENCE'] },
  { what: 'saves snapshots', config: { save: '3600 1' }, codes: [] },
  {
    what: 'writes append-only files carelessly',
    config: { appendonly: 'yes', appendfsync: 'no', 'auto-aof-rewrite-percentage': '0' },
    codes: ['FSYNC_OFF', 'AOF_REWRITE_OFF'],
  },
  {
    what: 'removes keys and writes no checksums',
    config: { save: '3600 1', rdbchecksum: 'no', maxmemory: '100mb', 'maxmemory-policy': 'allkeys-lru' },
    codes: ['RDB_CHECKSUM_OFF', 'EVICTS_KEYS'],
  },
])('a probe of a server that $what finds $codes', async ({ config, codes }) => {
  await using folder = await temporaryFolder();
  await using server = await startRedis({ config });
  const probed = await redis.create(server.connection, services).probe(contextIn(folder.path));
  expect(probed).toMatchObject({ state: 'ok', databases: [{ name: 'server' }] });
  expect(probed.findings.map(({ code }) => code).filter((code) => code !== VARIES)).toEqual(codes);
});

test('a user that may not read the settings is reported, and its backup is refused with what to grant', async () => {
  await using folder = await temporaryFolder();
  const hash = createHash('sha256').update('secret').digest('hex');
  await using server = await startRedis({
    users: [`user agent on #${hash} resetkeys resetchannels -@all +info +bgsave`],
  });
  const passwordFile = join(folder.path, 'password');
  await writeFile(passwordFile, 'secret', { mode: 0o600 });
  const engine = redis.create({ ...server.connection, user: 'agent', passwordFile }, services);
  const probed = await engine.probe(contextIn(folder.path));
  expect(probed.findings).toContainEqual(
    expect.objectContaining({ code: 'SETTINGS_UNKNOWN', params: { reason: 'NOPERM' } }),
  );
  const request = { method: RDB.method, contents: null, options: {} };
  await expect(engine.backup(request, sink, contextIn(folder.path))).rejects.toMatchObject({
    code: 'DATABASE_REFUSED',
    remedy: expect.stringContaining('+config|get'),
  });
});

test('a backup of less than the whole server is refused', async () => {
  await using folder = await temporaryFolder();
  await using server = await startRedis();
  const engine = redis.create(server.connection, services);
  const request = { method: RDB.method, contents: ['db0'], options: {} };
  await expect(engine.backup(request, sink, contextIn(folder.path))).rejects.toMatchObject({ code: 'BAD_INPUT' });
});
