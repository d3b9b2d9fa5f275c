/** Loads an RDB file into a scratch server in a process of its own, which a test kills. Arguments: program, file, scratch folder. */
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemWaitingClock } from '@lastgood/host';
import { RedisSession, readInfo, redisConnectionSchema, startScratchServer } from '../../src/redis/index.ts';
import { plainSandbox } from './plain-sandbox.ts';

const [program = '', rdb = '', scratchFolder = ''] = process.argv.slice(2);
const { signal } = new AbortController();
const scratch = await startScratchServer({
  program,
  connection: redisConnectionSchema.parse({ socket: '/unused', scratchFolder }),
  kind: 'rdb',
  place: async (dataDir) => await copyFile(rdb, join(dataDir, 'dump.rdb')),
  needDiskBytes: 0,
  needMemoryBytes: 1024 * 1024,
  clock: systemWaitingClock,
  signal,
  sandbox: await plainSandbox(),
});
await using session = await RedisSession.open(scratch.connection, signal);
process.stdout.write(`${(await readInfo(session, 'server')).text('process_id')}\n`);
setInterval(() => undefined, 60_000);
