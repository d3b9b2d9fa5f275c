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
  type RedisFlavor,
  type RedisPrograms,
  startRedisService,
  temporaryFolder,
  testLimits,
} from '@lastgood/testkit';
import { describeEngine, type EngineSubject, type TriedRestore } from '@lastgood/testkit/conformance';
import { AOF, aclLine, listManagedFolders, RDB, redis } from '../src/redis/index.ts';

const PASSWORD = 'a password of the agent';
const SWAP: TriedRestore = {
  name: 'swap',
  request: (backupId) => ({
    scope: { kind: 'server' },
    point: { kind: 'backup', backupId },
    into: { way: 'swap' },
    options: {},
  }),
};

interface Situation {
  readonly programs: RedisPrograms;
  readonly config: RedisConfig;
  /** Whether the agent sees the files of the server. */
  readonly fileAccess: boolean;
  readonly method: string;
}

const rightsOf = (fileAccess: boolean, method: string): 'rdb' | 'aof' | 'replication' => {
  if (!fileAccess) return 'replication';
  return method === AOF.method ? 'aof' : 'rdb';
};

/** A server with a user that has the documented rights alone. */
async function openSubject({ programs, config, fileAccess, method }: Situation): Promise<EngineSubject> {
  await using cleanup = new AsyncDisposableStack();
  const { path: folder } = cleanup.use(await temporaryFolder());
  const [passwordFile, wrongFile] = [join(folder, 'password'), join(folder, 'wrong')];
  await writeFile(passwordFile, PASSWORD, { mode: 0o600 });
  await writeFile(wrongFile, 'wrong', { mode: 0o600 });
  const hash = createHash('sha256').update(PASSWORD).digest('hex');
  const server = cleanup.use(
    await startRedisService({
      programs,
      config,
      users: [aclLine('lastgood', rightsOf(fileAccess, method), hash)],
    }),
  );
  const connection = { ...server.connection, user: 'lastgood', passwordFile, fileAccess };
  const control = createServiceControl(server.service);
  const owned = cleanup.move();
  return {
    connection,
    wrongSecret: { ...connection, passwordFile: wrongFile },
    services: { target: 'cache', service: control, restoreFolders: {}, restoreTests: testLimits },
    method,
    options: { digests: true },
    highest: 6,
    contents: ['server'],
    // A restore replaces the files of the server.
    restores: fileAccess ? [SWAP] : [],
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

const found = new Map(
  await Promise.all(REDIS_FLAVORS.map(async (each) => [each, await findRedisPrograms(each)] as const)),
);

interface Tried {
  readonly method?: string;
  readonly appendonly: string;
  readonly fileAccess: boolean;
}
function describeRedis(flavor: RedisFlavor, { method = RDB.method, appendonly, fileAccess }: Tried): void {
  const programs = found.get(flavor) ?? { reason: 'unknown' };
  const access = fileAccess ? '' : ' and no access to its files';
  describeEngine(`${method} on ${flavor} with appendonly ${appendonly}${access}`, {
    definition: redis,
    absent: 'reason' in programs ? programs.reason : null,
    open: async () => {
      if ('reason' in programs) throw new TypeError(programs.reason);
      return await openSubject({ programs, config: { appendonly, appendfsync: 'always' }, fileAccess, method });
    },
    openRepository: async (path) => await createFolderRepository({ understood: [RDB, AOF], path }),
  });
}

// The files of both settings differ. In what the versions differ shows with either.
describeRedis('system', { appendonly: 'no', fileAccess: true });
describeRedis('system', { appendonly: 'yes', fileAccess: true });
describeRedis('system', { appendonly: 'no', fileAccess: false });
describeRedis('redis-8.2', { appendonly: 'yes', fileAccess: true });
describeRedis('valkey-9.1', { appendonly: 'yes', fileAccess: true });
describeRedis('system', { method: AOF.method, appendonly: 'yes', fileAccess: true });
describeRedis('redis-8.2', { method: AOF.method, appendonly: 'yes', fileAccess: true });
describeRedis('valkey-9.1', { method: AOF.method, appendonly: 'yes', fileAccess: true });
