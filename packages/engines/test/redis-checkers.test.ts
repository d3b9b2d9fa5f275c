import { createReadStream } from 'node:fs';
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool, uncontainedSandbox } from '@lastgood/host';
import { type RedisConfig, type RedisPrograms, seedKeys, startRedis, temporaryFolder } from '@lastgood/testkit';
import { describe, expect, test } from 'vitest';
import {
  AofFileWalker,
  type CheckerOutcome,
  type CheckRequest,
  findProgram,
  judgeAofFile,
  judgeRdb,
  parseVersion,
  RedisSession,
  runChecker,
  walkRdb,
} from '../src/redis/index.ts';
import { failureOf } from './support/collector.ts';
import { eachFlavor, programsOf } from './support/redis-flavors.ts';
import { loadScratch } from './support/redis-scratch.ts';

const never = new AbortController().signal;
const check = async (programs: RedisPrograms, tool: CheckRequest['tool'], path: string): Promise<CheckerOutcome> =>
  await runChecker({
    product: programs.product,
    version: parseVersion(programs.version),
    tool,
    path,
    binDir: programs.binDir,
    stallMs: 60_000,
    signal: never,
    // The files belong to the user of the test.
    sandbox: uncontainedSandbox(null),
  });
const flipped = (bytes: Buffer, at: number): Buffer => {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 0x01;
  return copy;
};
/** Whether a server loads the files, and how many keys it then has. */
async function load(programs: RedisPrograms, source: { rdb: string } | { aof: string }): Promise<string> {
  try {
    await using scratch = await loadScratch(programs, source);
    await using session = await RedisSession.open(scratch.connection, never);
    return `${String(await session.call('DBSIZE'))} keys`;
  } catch (error) {
    return (await failureOf(Promise.reject(error))).code;
  }
}

interface RdbRow {
  readonly damage: string;
  readonly config?: RedisConfig;
  readonly change: (bytes: Buffer) => Buffer;
  readonly checker: CheckerOutcome['state'];
  readonly server: 'loads' | 'refuses';
  readonly walker: readonly string[];
}
const WITHOUT_CHECKSUM = { rdbchecksum: 'no', rdbcompression: 'no' };
const VALUE = 'lorem ipsum';
const RDB_ROWS: readonly RdbRow[] = [
  { damage: 'none', change: (bytes) => bytes, checker: 'passed', server: 'loads', walker: [] },
  {
    damage: 'half of it',
    change: (bytes) => bytes.subarray(0, bytes.length / 2),
    checker: 'failed',
    server: 'refuses',
    walker: ['RDB_INCOMPLETE'],
  },
  {
    damage: 'a flipped bit',
    change: (bytes) => flipped(bytes, bytes.length - 12),
    checker: 'failed',
    server: 'refuses',
    walker: ['RDB_CHECKSUM_DIFFERS'],
  },
  {
    damage: 'without its last 8 bytes',
    change: (bytes) => bytes.subarray(0, -8),
    checker: 'failed',
    server: 'refuses',
    walker: ['RDB_INCOMPLETE'],
  },
  {
    damage: 'bytes behind its end',
    change: (bytes) => Buffer.concat([bytes, Buffer.from('garbage')]),
    checker: 'passed',
    server: 'loads',
    walker: ['RDB_TRAILING_BYTES'],
  },
  {
    damage: 'no checksum',
    config: WITHOUT_CHECKSUM,
    change: (bytes) => bytes,
    checker: 'passed',
    server: 'loads',
    walker: ['RDB_NOT_SELF_CHECKING'],
  },
  {
    damage: 'no checksum and a flipped bit of a value',
    config: WITHOUT_CHECKSUM,
    change: (bytes) => flipped(bytes, bytes.indexOf(VALUE)),
    checker: 'passed',
    server: 'loads',
    walker: ['RDB_NOT_SELF_CHECKING'],
  },
];

eachFlavor('what check tool, server and walker of %s make of an RDB file (M7)', (flavor) => {
  test.for(RDB_ROWS)('$damage: checker $checker, server $server, walker $walker', async (row, { skip }) => {
    const programs = programsOf(flavor, skip);
    await using folder = await temporaryFolder();
    await using source = await startRedis({ programs, config: row.config ?? {} });
    await source.call('SET', 'a', `${VALUE} `.repeat(50));
    await source.call('RPUSH', 'last', 'one', 'two', 'three');
    await source.call('SAVE');
    const rdb = join(folder.path, 'dump.rdb');
    await writeFile(rdb, row.change(await readFile(join(source.dataDir, 'dump.rdb'))));
    const outcome = await check(programs, 'check-rdb', rdb);
    expect(outcome.state).toBe(row.checker);
    if (outcome.state === 'passed') expect(outcome.unnoticed).toContain('TRAILING_BYTES_UNNOTICED');
    expect(await load(programs, { rdb })).toBe(row.server === 'loads' ? '2 keys' : 'BACKUP_CORRUPT');
    expect(judgeRdb(await walkRdb(createReadStream(rdb))).map(({ code }) => code)).toEqual(row.walker);
  });
});

interface AofRow {
  readonly damage: string;
  readonly change: (folder: string, incremental: string) => Promise<void>;
  readonly checker: CheckerOutcome['state'];
  readonly server: string;
  readonly walker: readonly string[] | null;
}
const AOF_ROWS: readonly AofRow[] = [
  {
    damage: 'none',
    change: async () => undefined,
    checker: 'passed',
    server: '3 keys',
    walker: ['AOF_NOT_SELF_CHECKING'],
  },
  {
    damage: 'the last 5 bytes cut off',
    change: async (folder, name) => {
      const path = join(folder, name);
      await writeFile(path, (await readFile(path)).subarray(0, -5));
    },
    checker: 'failed',
    server: 'BACKUP_CORRUPT',
    walker: ['AOF_COMMANDS_TRUNCATED', 'AOF_NOT_SELF_CHECKING'],
  },
  {
    damage: 'a missing file',
    change: async (folder, name) => await rm(join(folder, name)),
    checker: 'failed',
    server: 'BACKUP_CORRUPT',
    walker: null,
  },
  {
    damage: 'a changed byte of a value',
    change: async (folder, name) => {
      const path = join(folder, name);
      const bytes = await readFile(path);
      await writeFile(path, flipped(bytes, bytes.indexOf(VALUE)));
    },
    checker: 'passed',
    server: '3 keys',
    walker: ['AOF_NOT_SELF_CHECKING'],
  },
  {
    damage: 'a block of zeros',
    change: async (folder, name) => {
      const path = join(folder, name);
      const bytes = await readFile(path);
      await writeFile(path, Buffer.from(bytes).fill(0, 40, 80));
    },
    checker: 'failed',
    server: 'BACKUP_CORRUPT',
    walker: ['AOF_COMMANDS_DAMAGED', 'AOF_NOT_SELF_CHECKING'],
  },
];

eachFlavor('what check tool, server and walker of %s make of an append-only set (M8)', (flavor) => {
  test.for(AOF_ROWS)('$damage: checker $checker, server $server, walker $walker', async (row, { skip }) => {
    const programs = programsOf(flavor, skip);
    await using folder = await temporaryFolder();
    await using source = await startRedis({ programs, config: { appendonly: 'yes' } });
    await source.call('SET', 'a', `${VALUE} `.repeat(3));
    await source.call('SET', 'b', 1);
    await source.call('SET', 'c', 2);
    await source.stop();
    const aof = join(folder.path, 'aof');
    await cp(join(source.dataDir, 'appendonlydir'), aof, { recursive: true });
    const incremental = (await readdir(aof)).find((name) => name.includes('incr')) ?? '';
    await row.change(aof, incremental);
    const outcome = await check(programs, 'check-aof', join(aof, 'appendonly.aof.manifest'));
    if (flavor === 'valkey-9.1') expect(outcome).toEqual({ state: 'skipped', reason: 'CHECKER_DEFECTIVE' });
    else expect(outcome.state).toBe(row.checker);
    if (outcome.state === 'passed') expect(outcome.unnoticed).toEqual(['CHANGED_COMMANDS_UNNOTICED']);
    expect(await load(programs, { aof })).toBe(row.server);
    if (row.walker === null) return;
    const walker = new AofFileWalker();
    walker.push(await readFile(join(aof, incremental)));
    expect(judgeAofFile(walker.report()).map(({ code }) => code)).toEqual(row.walker);
  });
});

test('the check tool of Valkey 9 refuses a valid set, which is why it is not used', async ({ skip }) => {
  const programs = programsOf('valkey-9.1', skip);
  await using source = await startRedis({ programs, config: { appendonly: 'yes' } });
  await source.call('SET', 'a', 1);
  await source.stop();
  const folder = join(source.dataDir, 'appendonlydir');
  const call = { file: programs.checkAof, signal: never, timeoutMs: 60_000, acceptedExitCodes: [1] };
  const set = await runTool({ ...call, args: [join(folder, 'appendonly.aof.manifest')] });
  expect(set.exitCode).toBe(1);
  expect(await load(programs, { aof: folder })).toBe('1 keys');
});

describe('a server that may shorten a damaged file', () => {
  test('starts with less data and reports nothing (M8): a start is not a verification', async () => {
    await using source = await startRedis({ config: { appendonly: 'yes' } });
    await source.call('SET', 'a', 1);
    await source.call('SET', 'b', 2);
    await source.stop();
    const folder = join(source.dataDir, 'appendonlydir');
    const name = (await readdir(folder)).find((each) => each.includes('incr')) ?? '';
    await writeFile(join(folder, name), (await readFile(join(folder, name))).subarray(0, -5));
    await source.start({ 'aof-load-truncated': 'yes' });
    expect(await source.call('DBSIZE')).toBe(1);
  });
});

test('the tool of another version is not used, for it would judge wrongly', async ({ skip }) => {
  const [old, newer] = [programsOf('system', skip), programsOf('redis-8.2', skip)];
  await using folder = await temporaryFolder();
  await using source = await startRedis({ programs: newer });
  await seedKeys(source);
  await source.call('SAVE');
  const rdb = join(folder.path, 'dump.rdb');
  await cp(join(source.dataDir, 'dump.rdb'), rdb);
  const request = { product: 'redis', version: parseVersion(newer.version), tool: 'check-rdb', path: rdb } as const;
  const rest = { stallMs: 60_000, signal: never, sandbox: uncontainedSandbox(null) };
  expect(await runChecker({ ...request, ...rest, binDir: old.binDir })).toEqual({
    state: 'skipped',
    reason: 'NO_CHECKER',
  });
  expect(await runChecker({ ...request, ...rest, binDir: newer.binDir })).toMatchObject({ state: 'passed' });
  const wrongly = { ...request, ...rest, version: parseVersion(old.version), binDir: old.binDir };
  expect(await runChecker(wrongly)).toMatchObject({ state: 'failed' });
  expect(await findProgram('valkey', 'server', old.binDir, parseVersion('9.1.2'), never)).toBeUndefined();
});
