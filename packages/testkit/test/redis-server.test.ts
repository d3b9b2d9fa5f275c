import { access, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findRedisPrograms, REDIS_FLAVORS, seedKeys, startRedis } from '../src/index.ts';

const sizesOf = (text: unknown): Record<string, { keys: number; expires: number }> =>
  Object.fromEntries(
    [...String(text).matchAll(/^db(\d+):keys=(\d+),expires=(\d+)/gm)].map(([, db = '', keys, expires]) => [
      db,
      { keys: Number(keys), expires: Number(expires) },
    ]),
  );

describe.for([...REDIS_FLAVORS])('a server of %s', (flavor) => {
  test('holds the seeded keys, keeps them over a restart, and is gone when disposed', async ({ skip }) => {
    const programs = await findRedisPrograms(flavor);
    if ('reason' in programs) return skip(true, programs.reason);
    let socket: string;
    {
      await using server = await startRedis({ programs });
      socket = server.socket;
      const counts = await seedKeys(server, 2_500);
      expect(sizesOf(await server.call('INFO', 'keyspace'))).toEqual(counts.databases);
      expect(await server.info(`${programs.product}_version`)).toBe(programs.version);
      await server.call('SAVE');
      const first = await server.pid();
      await server.stop();
      await expect(access(socket)).rejects.toThrow('ENOENT');
      await server.start();
      expect(await server.pid()).not.toBe(first);
      expect(sizesOf(await server.call('INFO', 'keyspace'))).toEqual(counts.databases);
      await server.kill();
      await server.start({ appendonly: 'yes' });
      expect(await server.call('CONFIG', 'GET', 'appendonly')).toEqual(['appendonly', 'yes']);
    }
    await expect(access(socket)).rejects.toThrow('ENOENT');
  });
});

test('a server runs as an unprivileged user, takes its password and the users of its ACL file', async () => {
  await using server = await startRedis({ users: ['user reader on >secret ~* +get'], config: { appendonly: 'yes' } });
  if (server.user !== undefined) expect((await stat(join(server.dataDir, 'appendonlydir'))).uid).toBe(server.user.uid);
  expect(await server.call('ACL', 'GETUSER', 'reader')).toContain('passwords');
});

test('a server that cannot start fails with the end of its log', async () => {
  await expect(startRedis({ config: { maxmemory: 'plenty' } })).rejects.toThrow('did not start');
});
