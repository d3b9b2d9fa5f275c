import { styleText } from 'node:util';
import type { RestoreRequest } from '@lastgood/protocol';
import { type AdminClient, findRedisPrograms, type RedisService, startRedisService } from '@lastgood/testkit';
import { print, run, seconds } from './demo-console.ts';

const KEYS = 20_000;
const TARGET = 'cache';

/** A throw-away Redis with sample data; null where none is installed. */
export async function startCache(): Promise<RedisService | null> {
  const programs = await findRedisPrograms('system');
  if ('reason' in programs) {
    print('Redis is not installed, so the demo leaves it out (Debian and Ubuntu: apt-get install redis-server)');
    return null;
  }
  print('starting a throw-away Redis with sample data');
  const cache = await startRedisService({ programs, config: { appendonly: 'yes' } });
  for (let first = 0; first < KEYS; first += 1_000) {
    const pairs = Array.from({ length: 1_000 }, (_, n) => [`session:${first + n}`, `user ${first + n}`]).flat();
    await cache.call('MSET', ...pairs);
  }
  return cache;
}

/** The target of the agent file. */
export const cacheTarget = ({ connection, service }: RedisService): object => ({
  engine: 'redis',
  labels: {},
  repository: 'local',
  connection,
  service,
  allow: { restore: ['swap'], rotate: true, uncontainedRestoreTests: true },
});

/** Backs the server up, tests the backup, loses all keys on purpose, and brings them back. */
export async function runCacheJob(client: AdminClient, cache: RedisService): Promise<void> {
  const { backup, durationMs } = await run(client, {
    command: 'backup',
    target: TARGET,
    method: null,
    contents: null,
    options: { digests: true },
  });
  const { backupId } = backup;
  print(`${styleText('green', '✓')} backup ${backupId} of the whole Redis server (${seconds(durationMs)})`);
  const verified = await run(client, { command: 'verify', target: TARGET, backupId, level: 6 });
  if (!verified.passed) throw new Error('the backup of Redis did not reach level 6');
  print(`${styleText('green', '✓')} restore-tested: level ${verified.reached} (${seconds(verified.durationMs)})`);
  await cache.call('FLUSHALL');
  print(`${styleText('red', '✗')} removed all keys on purpose`);
  const request: RestoreRequest = {
    scope: { kind: 'server' },
    point: { kind: 'backup', backupId },
    into: { way: 'swap' },
    options: {},
  };
  const { plan } = await run(client, { command: 'plan', target: TARGET, request });
  const restore = await run(client, { command: 'restore', target: TARGET, request, planHash: plan.hash });
  const keys = Number(await cache.call('DBSIZE'));
  if (keys !== KEYS) throw new Error(`the restored server has ${keys} keys`);
  print(
    `${styleText('green', '✓')} restored by swap: ${keys} keys (${seconds(restore.durationMs)}); the old files are set aside for undo`,
  );
}
