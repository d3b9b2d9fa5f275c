import { copyFile, cp } from 'node:fs/promises';
import { join } from 'node:path';
import { systemWaitingClock } from '@lastgood/host';
import type { RedisPrograms } from '@lastgood/testkit';
import {
  type RedisConnection,
  redisConnectionSchema,
  SCRATCH_FILES,
  type ScratchRequest,
  type ScratchServer,
  startScratchServer,
} from '../../src/redis/index.ts';
import { plainSandbox } from './plain-sandbox.ts';

/** The connection of a target as far as scratch servers go. */
export const scratchConnection = (change: object = {}): RedisConnection =>
  redisConnectionSchema.parse({ socket: '/unused', ...change });

/** Loads an RDB file, or an append-only folder, into a scratch server. */
export async function loadScratch(
  programs: RedisPrograms,
  source: { readonly rdb: string } | { readonly aof: string },
  change: Partial<ScratchRequest> = {},
): Promise<ScratchServer> {
  return await startScratchServer({
    program: programs.server,
    connection: scratchConnection(),
    kind: 'rdb' in source ? 'rdb' : 'aof',
    place: async (dataDir) => {
      if ('rdb' in source) await copyFile(source.rdb, join(dataDir, SCRATCH_FILES.rdb));
      else await cp(source.aof, join(dataDir, SCRATCH_FILES.appendFolder), { recursive: true });
    },
    needDiskBytes: 0,
    needMemoryBytes: 64 * 1024 * 1024,
    clock: systemWaitingClock,
    signal: new AbortController().signal,
    sandbox: await plainSandbox(),
    ...change,
  });
}
