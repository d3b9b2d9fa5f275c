import { createHash } from 'node:crypto';
import { readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServiceControl } from '@lastgood/host';
import { createFolderRepository } from '@lastgood/repository';
import {
  findRedisPrograms,
  REDIS_FLAVORS,
  type RedisConfig,
  type RedisPrograms,
  startRedisService,
  temporaryFolder,
} from '@lastgood/testkit';
import { describeEngine, type EngineSubject } from '@lastgood/testkit/conformance';
import { aclLine, listManagedFolders, RDB, redis } from '../src/redis/index.ts';

const PASSWORD = 'a password of the agent';

/** A server with a user that has the documented rights alone. */
async function openSubject(programs: RedisPrograms, config: RedisConfig): Promise<EngineSubject> {
  await using cleanup = new AsyncDisposableStack();
  const { path: folder } = cleanup.use(await temporaryFolder());
  const [passwordFile, wrongFile] = [join(folder, 'password'), join(folder, 'wrong')];
  await writeFile(passwordFile, PASSWORD, { mode: 0o600 });
  await writeFile(wrongFile, 'wrong', { mode: 0o600 });
  const hash = createHash('sha256').update(PASSWORD).digest('hex');
  const server = cleanup.use(await startRedisService({ programs, config, users: [aclLine('lastgood', 'rdb', hash)] }));
  const connection = { ...server.connection, user: 'lastgood', passwordFile };
  const control = createServiceControl(server.service);
  const owned = cleanup.move();
  return {
    connection,
    wrongSecret: { ...connection, passwordFile: wrongFile },
    services: { target: 'cache', service: control, restoreFolders: {} },
    method: RDB.method,
    options: { digests: true },
    highest: 6,
    contents: ['server'],
    restores: [
      {
        name: 'swap',
        request: (backupId) => ({
          scope: { kind: 'server' },
          point: { kind: 'backup', backupId },
          into: { way: 'swap' },
          options: {},
        }),
      },
    ],
    fill: async (generation) => {
      await server.call('FLUSHALL');
      await server.call('MSET', ...Array.from({ length: 500 }, (_, n) => [`${generation}:${n}`, `v${n}`]).flat());
      await server.call('HSET', `${generation}:hash`, 'field', generation);
    },
    served: async () => {
      const keys = (await server.call('KEYS', '*')) as string[];
      return `${keys.length} ${[...new Set(keys.map((key) => key.split(':')[0]))].join(' ')}`;
    },
    stop: () => server.stop(),
    start: () => server.start(),
    leftovers: async () => {
      const scratch = (await readdir(tmpdir())).filter((name) =>
        name.startsWith(`lastgood-redis-scratch-${process.pid}-`),
      );
      const folders = await listManagedFolders(server.dataDir);
      return [...scratch, ...folders.flatMap(({ kind }) => (kind === 'new' || kind === 'return' ? [kind] : []))];
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

for (const flavor of REDIS_FLAVORS) {
  const programs = await findRedisPrograms(flavor);
  // The files of both settings differ; what the versions differ in shows with either.
  for (const appendonly of flavor === 'system' ? ['no', 'yes'] : ['yes'])
    describeEngine(`rdb on ${flavor} with appendonly ${appendonly}`, {
      definition: redis,
      absent: 'reason' in programs ? programs.reason : null,
      open: async () => {
        if ('reason' in programs) throw new TypeError(programs.reason);
        return await openSubject(programs, { appendonly, appendfsync: 'always' });
      },
      openRepository: async (path) => await createFolderRepository({ understood: [RDB], path }),
    });
}
