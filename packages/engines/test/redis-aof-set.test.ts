import { cp, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { runTool, systemWaitingClock } from '@lastgood/host';
import { type RedisOptions, type RedisServer, seedKeys, startRedis, temporaryFolder } from '@lastgood/testkit';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  AofFileWalker,
  type AofFolder,
  AofSet,
  formatAofManifest,
  judgeAofFile,
  manifestPath,
  parseAofManifest,
  RedisSession,
  RespWalker,
  redisConnectionSchema,
  seedManifest,
  waitForAofWrites,
} from '../src/redis/index.ts';
import { Collector, failureOf } from './support/collector.ts';
import { eachFlavor, programsOf } from './support/redis-flavors.ts';

const WAIT = { timeout: 30_000 };
const never = new AbortController().signal;
/** Every write is in the file before its reply comes. */
const AOF = { appendonly: 'yes', appendfsync: 'always' };

async function folderOf(server: RedisServer): Promise<AofFolder> {
  const ask = async (setting: string): Promise<string> => {
    const reply = await server.call('CONFIG', 'GET', setting);
    return Array.isArray(reply) ? String(reply[1]) : '';
  };
  return { path: join(server.dataDir, await ask('appenddirname')), appendFilename: await ask('appendfilename') };
}
/** Copies the set of a server into a folder as a server would load it. */
async function copySet(folder: AofFolder, target: string): Promise<void> {
  await using set = await AofSet.open(folder, never);
  await mkdir(target);
  for (const member of set.members) {
    const sink = new Collector();
    await set.copy(member, sink, never);
    await writeFile(join(target, member.entry.name), sink.bytes);
  }
  await writeFile(join(target, `${folder.appendFilename}.manifest`), set.manifest());
}
async function loadCopy(copy: string, options: RedisOptions): Promise<RedisServer> {
  return await startRedis({
    ...options,
    // A set that is not complete is to be refused.
    config: { ...options.config, ...AOF, 'aof-load-truncated': 'no' },
    prepare: async (dataDir) => {
      const target = join(dataDir, String(options.config?.['appenddirname'] ?? 'appendonlydir').replaceAll('"', ''));
      await cp(copy, target, { recursive: true });
    },
  });
}

eachFlavor('the append-only files of %s', (flavor) => {
  test('are copied with names that need quotes, and load as they were', async ({ skip }) => {
    const programs = programsOf(flavor, skip);
    const names = { appendfilename: '"my \\"aof\\" \\xc3\\xbc"', appenddirname: '"the files"' };
    await using server = await startRedis({ programs, config: { ...AOF, ...names } });
    const counts = await seedKeys(server);
    const folder = await folderOf(server);
    expect(folder.appendFilename).toBe('my "aof" ü');
    await using copies = await temporaryFolder();
    await copySet(folder, join(copies.path, 'set'));
    await using copy = await loadCopy(join(copies.path, 'set'), { programs, config: names });
    const keyspace = String(await copy.call('INFO', 'keyspace'));
    for (const [db, { keys, expires }] of Object.entries(counts.databases))
      expect(keyspace).toContain(`db${db}:keys=${keys},expires=${expires}`);
  });

  test('A20: are copied whole beside writes and rewrites without a pause', async ({ skip }) => {
    const programs = programsOf(flavor, skip);
    await using server = await startRedis({ programs, config: AOF });
    await seedKeys(server, 3_000);
    const folder = await folderOf(server);
    await using copies = await temporaryFolder();
    const stop = new AbortController();
    let acknowledged = 0;
    const writing = (async () => {
      while (!stop.signal.aborted) acknowledged = Number(await server.call('INCR', 'written'));
    })();
    const rewriting = (async () => {
      while (!stop.signal.aborted) await server.call('BGREWRITEAOF').catch(() => undefined);
    })();
    const rounds: { before: number; after: number }[] = [];
    try {
      for (let round = 0; round < 4; round += 1) {
        const rewrites = Number(await server.info('aof_rewrites'));
        await expect.poll(async () => Number(await server.info('aof_rewrites')), WAIT).toBeGreaterThan(rewrites);
        const before = acknowledged;
        await copySet(folder, join(copies.path, String(round)));
        rounds.push({ before, after: acknowledged + 1 });
      }
    } finally {
      stop.abort();
      await Promise.all([writing, rewriting]);
    }
    for (const [round, { before, after }] of rounds.entries()) {
      await using copy = await loadCopy(join(copies.path, String(round)), { programs });
      const written = Number(await copy.call('GET', 'written'));
      expect(written).toBeGreaterThanOrEqual(before);
      expect(written).toBeLessThanOrEqual(after);
      expect(Number(await copy.call('EXISTS', 'copy:2999'))).toBe(1);
    }
  });

  test('that consist of commands alone are copied as well', async ({ skip }) => {
    const programs = programsOf(flavor, skip);
    await using server = await startRedis({ programs, config: { ...AOF, 'aof-use-rdb-preamble': 'no' } });
    await server.call('MSET', 'a', 1, 'b', 2);
    await server.call('BGREWRITEAOF');
    await server.waitForInfo('aof_rewrite_in_progress', '0');
    await server.call('SET', 'c', 3);
    await using copies = await temporaryFolder();
    await copySet(await folderOf(server), join(copies.path, 'set'));
    await using copy = await loadCopy(join(copies.path, 'set'), { programs });
    expect(await copy.call('MGET', 'a', 'b', 'c')).toEqual(['1', '2', '3']);
  });
});

describe('writes that were acknowledged', () => {
  const waitFor = async (server: RedisServer, timeoutMs: number): Promise<number> => {
    await using session = await RedisSession.open(redisConnectionSchema.parse(server.connection), never);
    return await waitForAofWrites(session, { clock: systemWaitingClock, signal: never, timeoutMs });
  };
  const now = async (server: RedisServer): Promise<number> => Number(await server.info('server_time_usec')) / 1_000;

  test('are in the files at the recovery point', async () => {
    await using server = await startRedis({ config: { appendonly: 'yes', appendfsync: 'everysec' } });
    for (let round = 0; round < 20; round += 1) {
      await server.call('SET', 'round', `number ${round}`);
      const before = await now(server);
      expect(await waitFor(server, 10_000)).toBeGreaterThanOrEqual(Math.floor(before));
      await using set = await AofSet.open(await folderOf(server), never);
      const last = set.members.at(-1);
      const sink = new Collector();
      if (last !== undefined) await set.copy(last, sink, never);
      expect(sink.bytes.includes(`number ${round}`)).toBe(true);
    }
  });

  test('are waited for while a slow disk holds them back, and the recovery point lies before them when they do not come', async ({
    skip,
  }) => {
    await using server = await startRedis({ config: { appendonly: 'yes', appendfsync: 'everysec' } });
    const stop = new AbortController();
    const tracing = runTool({
      file: 'strace',
      args: [
        '-f',
        '-qq',
        '-e',
        'trace=fdatasync',
        '-e',
        'inject=fdatasync:delay_enter=1500000',
        '-p',
        String(await server.pid()),
      ],
      signal: stop.signal,
      timeoutMs: 120_000,
    }).catch((error: unknown) => error);
    try {
      const isHeldBack = async (): Promise<boolean> => {
        await server.call('INCR', 'n');
        return Number(await server.info('aof_buffer_length')) > 0;
      };
      const held = await Promise.race([
        expect
          .poll(isHeldBack, { timeout: 20_000, interval: 5 })
          .toBe(true)
          .then(() => true),
        tracing.then(() => false),
      ]);
      if (!held) return skip(true, 'strace cannot trace here');
      const acknowledged = await now(server);
      expect(await waitFor(server, 0)).toBeLessThan(acknowledged);
      expect(await waitFor(server, 20_000)).toBeGreaterThanOrEqual(Math.floor(acknowledged));
    } finally {
      stop.abort();
      await tracing;
    }
  });
});

describe('a broken set', () => {
  async function stoppedServer(): Promise<{ server: RedisServer; folder: AofFolder; files: string[] }> {
    const server = await startRedis({ config: AOF });
    await server.call('SET', 'a', 1);
    const folder = await folderOf(server);
    await server.stop();
    return { server, folder, files: (await readdir(folder.path)).sort() };
  }
  const copyAll = async (folder: AofFolder): Promise<void> => {
    await using copies = await temporaryFolder();
    await copySet(folder, join(copies.path, 'set'));
  };

  test.for<{
    what: string;
    damage: (folder: AofFolder, incremental: string, base: string) => Promise<void>;
    code: string;
  }>([
    {
      what: 'without one of its files (A20)',
      damage: async ({ path }, incremental) => await rm(join(path, incremental)),
      code: 'TOOL_FAILED',
    },
    { what: 'without its manifest', damage: async (folder) => await rm(manifestPath(folder)), code: 'IO_ERROR' },
    {
      what: 'with a manifest that names a file elsewhere',
      damage: async (folder) => await writeFile(manifestPath(folder), 'file ../../etc/passwd seq 1 type b\n'),
      code: 'TOOL_FAILED',
    },
    {
      what: 'with a base file that is cut',
      damage: async ({ path }, _, base) => await truncate(join(path, base), 30),
      code: 'TOOL_FAILED',
    },
    {
      what: 'with commands that are none',
      damage: async ({ path }, incremental) =>
        await writeFile(join(path, incremental), '*1\r\n$4\r\nPING\r\nhello\r\n'),
      code: 'TOOL_FAILED',
    },
  ])('$what is refused', async ({ damage, code }) => {
    const { server, folder, files } = await stoppedServer();
    await using _ = server;
    const [base = '', incremental = ''] = files;
    await damage(folder, incremental, base);
    expect(await failureOf(copyAll(folder))).toMatchObject({ code });
  });

  test('whose last file ends within a command is copied up to the command before', async () => {
    const { server, folder, files } = await stoppedServer();
    await using _ = server;
    const [, incremental = ''] = files;
    const path = join(folder.path, incremental);
    const whole = await readFile(path);
    await writeFile(path, Buffer.concat([whole, Buffer.from('*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$100\r\nxyz')]));
    await using set = await AofSet.open(folder, never);
    expect(set.members.at(-1)?.bytes).toBe(whole.length);
    // What is appended after the set was opened is not part of it.
    await writeFile(path, '*1\r\n$4\r\nPING\r\n', { flag: 'a' });
    const sink = new Collector();
    const last = set.members.at(-1);
    if (last !== undefined) await set.copy(last, sink, never);
    expect(sink.bytes).toEqual(whole);
  });
});

describe('a manifest', () => {
  const text = [
    '# comment',
    'file appendonly.aof.2.base.rdb seq 2 type b',
    'file appendonly.aof.1.base.rdb seq 1 type h',
    'file "my \\"aof\\".7.incr.aof" seq 7 type i startoffset 0',
    'file appendonly.aof.8.incr.aof seq 8 type i',
    '',
  ].join('\n');
  test('is read with quotes, unknown fields and history, and written as it was', () => {
    const entries = parseAofManifest(text);
    expect(entries.map(({ name, sequence, type }) => [name, sequence, type])).toEqual([
      ['appendonly.aof.2.base.rdb', 2, 'base'],
      ['appendonly.aof.1.base.rdb', 1, 'history'],
      ['my "aof".7.incr.aof', 7, 'incremental'],
      ['appendonly.aof.8.incr.aof', 8, 'incremental'],
    ]);
    expect(`# comment\n${formatAofManifest(entries)}`).toBe(text);
  });
  test('of a snapshot alone names the base file after the setting', () => {
    expect(seedManifest('my aof')).toEqual({
      base: 'my aof.1.base.rdb',
      manifest: 'file "my aof.1.base.rdb" seq 1 type b\n',
    });
  });
  test.for([
    { problem: 'nothing', manifest: '' },
    { problem: 'no sequence', manifest: 'file a type b x y\n' },
    { problem: 'an unknown type', manifest: 'file a seq 1 type z\n' },
    { problem: 'an odd number of words', manifest: 'file a seq 1 type\n' },
    { problem: 'open quotes', manifest: 'file "a seq 1 type b\n' },
    { problem: 'two base files', manifest: 'file a seq 1 type b\nfile b seq 2 type b\n' },
    { problem: 'increments out of order', manifest: 'file a seq 2 type i\nfile b seq 1 type i\n' },
    { problem: 'a path', manifest: 'file a/b seq 1 type b\n' },
    { problem: 'the folder itself', manifest: 'file .. seq 1 type b\n' },
    { problem: 'a name that is not UTF-8', manifest: 'file "\\xff" seq 1 type b\n' },
  ])('with $problem is refused', ({ manifest }) => {
    expect(() => parseAofManifest(manifest)).toThrow(Failure);
  });
});

describe('the walk over commands', () => {
  const command = (...words: readonly string[]): string =>
    `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
  const plain = `${command('SELECT', '0')}#TS:1628217473\r\n${command('SET', 'a\r\n', 'ü')}`;
  const transaction = `${command('MULTI')}${command('SET', 'b', '')}${command('EXEC')}`;
  const walk = (bytes: Buffer, size = bytes.length): ReturnType<RespWalker['report']> => {
    const walker = new RespWalker();
    for (let at = 0; at < bytes.length; at += Math.max(size, 1)) walker.push(bytes.subarray(at, at + size));
    return walker.report();
  };

  test('counts commands and ends behind the last complete one, however the bytes are divided and wherever they are cut', () => {
    const bytes = Buffer.from(plain + transaction + plain);
    expect(walk(bytes)).toEqual({ commands: 7, bytes: bytes.length, completeBytes: bytes.length, state: 'whole' });
    const ends = [
      0,
      command('SELECT', '0').length,
      command('SELECT', '0').length + 16,
      Buffer.byteLength(plain),
      Buffer.byteLength(plain + transaction),
    ];
    const later = ends.map((end) => end + Buffer.byteLength(plain + transaction));
    fc.assert(
      fc.property(fc.integer({ min: 0, max: bytes.length }), fc.integer({ min: 1, max: 40 }), (end, size) => {
        const report = walk(bytes.subarray(0, end), size);
        const complete = [...ends, ...later].filter((at) => at <= end).at(-1) ?? 0;
        expect(report).toMatchObject({ completeBytes: complete, state: complete === end ? 'whole' : 'truncated' });
      }),
    );
  });

  test.for([
    { what: 'text', bytes: 'hello\r\n' },
    { what: 'zeros', bytes: '\0'.repeat(2000) },
    { what: 'an empty command', bytes: '*0\r\n' },
    { what: 'a missing line end', bytes: '*1\r\n$4\r\nPINGxy' },
    { what: 'a negative length', bytes: '*1\r\n$-1\r\n' },
    { what: 'a number as argument', bytes: '*1\r\n:4\r\n' },
    { what: 'an endless line', bytes: `*${'1'.repeat(2000)}` },
  ])('finds damage: $what', ({ bytes }) => {
    const all = Buffer.from(plain + bytes);
    for (const size of [1, 7, all.length])
      expect(walk(all, size)).toMatchObject({ state: 'damaged', completeBytes: Buffer.byteLength(plain) });
  });

  test('follows an RDB file that goes on with commands, as an upgraded file does', async () => {
    await using server = await startRedis({ config: AOF });
    await server.call('SET', 'a', 1);
    const { path } = await folderOf(server);
    const names = (await readdir(path)).sort();
    const both = Buffer.concat(await Promise.all(names.slice(0, 2).map((name) => readFile(join(path, name)))));
    const walker = new AofFileWalker();
    for (const byte of both) walker.push(Buffer.from([byte]));
    const report = walker.report();
    expect(report.rdb).toMatchObject({ state: 'whole', checksum: 'matches' });
    expect(report.commands).toMatchObject({ commands: 2, state: 'whole' });
    expect(judgeAofFile(report).map(({ code }) => code)).toEqual(['AOF_NOT_SELF_CHECKING']);
  });
});
