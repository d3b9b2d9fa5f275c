import { join } from 'node:path';
import { type Engine, type EngineContext, noSteps, type Repository, type StepRunner } from '@lastgood/core';
import { createServiceControl, systemClock, uuidv7 } from '@lastgood/host';
import type { RestoreRequest } from '@lastgood/protocol';
import { createFolderRepository } from '@lastgood/repository';
import { type RedisPrograms, startRedis, startRedisService, temporaryFolder, testLimits } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { RDB, redis } from '../src/redis/index.ts';
import { programsOf } from './support/redis-flavors.ts';

const ref = { environment: 'test', host: 'db-1', target: 'cache' };
const unjournaled: StepRunner = { ...noSteps, run: async (_step, effect) => await effect() };
const contextIn = (workDir: string): EngineContext => ({
  workDir,
  signal: new AbortController().signal,
  clock: systemClock,
  steps: unjournaled,
  progress: () => undefined,
  log: () => undefined,
});
const requestOf = (backupId: string): RestoreRequest => ({
  scope: { kind: 'server' },
  point: { kind: 'backup', backupId },
  into: { way: 'swap' },
  options: {},
});

/** A repository with a backup of a server of this version, which has one key. */
async function backUp(programs: RedisPrograms, folder: string): Promise<{ repository: Repository; backupId: string }> {
  await using server = await startRedis({ programs });
  await server.call('SET', 'of', programs.version);
  const repository = await createFolderRepository({ understood: [RDB], path: join(folder, 'repository') });
  const engine = redis.create(server.connection, {
    target: 'cache',
    service: null,
    restoreFolders: {},
    restoreTests: testLimits,
  });
  const context = contextIn(folder);
  const { systemId } = await engine.identify(context);
  const about = { jobId: uuidv7(), attempt: 1, engine: redis.name, lastgoodVersion: '0.1.0' };
  const startedAt = new Date().toISOString();
  const writer = await repository.begin({ ref, backupId: uuidv7(), startedAt, ...about }, systemId);
  const facts = await engine.backup({ method: RDB.method, contents: null, options: {} }, writer, context);
  const { manifest } = await writer.publish(facts, new Date().toISOString());
  return { repository, backupId: manifest.backupId };
}
const sourceOf = (repository: Repository): Parameters<Engine['plan']>[1] => ({
  list: () => repository.list(ref),
  open: (backupId) => repository.open(ref, backupId),
  log: (streamId) => repository.log(ref, streamId),
});

test('a backup of Redis 7.0 is tested and restored by a newer server, on a host without the old programs', async ({
  skip,
}) => {
  const [older, newer] = [programsOf('system', skip), programsOf('redis-8.2', skip)];
  await using folder = await temporaryFolder();
  const { repository, backupId } = await backUp(older, folder.path);
  await using server = await startRedisService({ programs: newer, config: { appendonly: 'yes' } });
  const service = createServiceControl(server.service);
  const engine = redis.create(server.connection, {
    target: 'cache',
    service,
    restoreFolders: {},
    restoreTests: testLimits,
  });
  const request = requestOf(backupId);
  const { hash, refusals } = await engine.plan(request, sourceOf(repository), contextIn(folder.path));
  expect(refusals).toEqual([]);
  const order = { request, jobId: uuidv7(), planHash: hash };
  await engine.restore(order, sourceOf(repository), contextIn(folder.path));
  expect(await server.call('GET', 'of')).toBe(older.version);
});

test('a backup of Redis 8 is refused by Valkey 9 with a code and a remedy, and nothing is changed', async ({
  skip,
}) => {
  const [source, other] = [programsOf('redis-8.2', skip), programsOf('valkey-9.1', skip)];
  await using folder = await temporaryFolder();
  const { repository, backupId } = await backUp(source, folder.path);
  await using server = await startRedisService({ programs: other });
  await server.call('SET', 'own', 1);
  const service = createServiceControl(server.service);
  const engine = redis.create(server.connection, {
    target: 'cache',
    service,
    restoreFolders: {},
    restoreTests: testLimits,
  });
  const request = requestOf(backupId);
  const { hash, refusals } = await engine.plan(request, sourceOf(repository), contextIn(folder.path));
  expect(refusals).toEqual([expect.objectContaining({ code: 'FORMAT_NOT_READABLE', error: 'RESTORE_FAILED' })]);
  const work = engine.restore(
    { request, jobId: uuidv7(), planHash: hash },
    sourceOf(repository),
    contextIn(folder.path),
  );
  await expect(work).rejects.toMatchObject({ code: 'RESTORE_FAILED' });
  expect(await server.call('GET', 'own')).toBe('1');
});

test('a restore without a service in the agent file is refused', async ({ skip }) => {
  const programs = programsOf('system', skip);
  await using folder = await temporaryFolder();
  const { repository, backupId } = await backUp(programs, folder.path);
  await using server = await startRedis({ programs });
  const engine = redis.create(server.connection, {
    target: 'cache',
    service: null,
    restoreFolders: {},
    restoreTests: testLimits,
  });
  const { refusals } = await engine.plan(requestOf(backupId), sourceOf(repository), contextIn(folder.path));
  expect(refusals.map(({ code }) => code)).toEqual(['SERVICE_NOT_NAMED']);
});

test('a server that runs at another address than the agent file names is not taken for a stopped one', async ({
  skip,
}) => {
  const programs = programsOf('system', skip);
  await using folder = await temporaryFolder();
  const { repository, backupId } = await backUp(programs, folder.path);
  await using server = await startRedisService({ programs });
  await server.call('SET', 'own', 1);
  const elsewhere = { ...server.connection, socket: join(folder.path, 'no.sock'), configFile: server.configFile };
  const service = createServiceControl(server.service);
  const engine = redis.create(elsewhere, { target: 'cache', service, restoreFolders: {} });
  const request = requestOf(backupId);
  const { hash, refusals } = await engine.plan(request, sourceOf(repository), contextIn(folder.path));
  expect(refusals).toEqual([]);
  const order = { request, jobId: uuidv7(), planHash: hash };
  const work = engine.restore(order, sourceOf(repository), contextIn(folder.path));
  await expect(work).rejects.toMatchObject({ code: 'DATABASE_REFUSED', remedy: expect.stringContaining('address') });
  expect(await server.call('GET', 'own')).toBe('1');
});
