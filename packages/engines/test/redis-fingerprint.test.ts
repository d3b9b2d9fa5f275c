import { createReadStream } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type RedisConfig,
  type RedisPrograms,
  type RedisServer,
  seedKeys,
  startRedis,
  temporaryFolder,
} from '@lastgood/testkit';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  compareFingerprints,
  DigestSum,
  fingerprintOf,
  isIntact,
  LASTING,
  PartsHash,
  type RdbReport,
  type RedisFingerprint,
  RedisSession,
  readFingerprint,
  redisConnectionSchema,
  redisFingerprintSchema,
  slotOf,
  snapshotTimeOf,
  walkRdb,
} from '../src/redis/index.ts';
import { eachFlavor, programsOf } from './support/redis-flavors.ts';
import { loadScratch } from './support/redis-scratch.ts';

const never = new AbortController().signal;
type Command = readonly (string | number | Buffer)[];

/** Each in turn, and the code that it is noticed by: DIGEST_DIFFERS unless another is named. */
const CHANGES: readonly { change: string; command: Command; code?: string }[] = [
  { change: 'a byte of a string', command: ['SETRANGE', 'string:long', 100, 'X'] },
  { change: 'a string that is longer by an empty byte', command: ['APPEND', 'string:short', '\0'] },
  { change: 'the expiry of a key', command: ['PEXPIREAT', 'list:small', 4_102_444_800_001] },
  { change: 'the order of a list', command: ['LMOVE', 'list:small', 'list:small', 'LEFT', 'RIGHT'] },
  { change: 'an element of a long list', command: ['LSET', 'list:large', 15_000, 'x'] },
  { change: 'a member of a set', command: ['SMOVE', 'set:large', 'set:small', 'member-7'] },
  { change: 'a score', command: ['ZINCRBY', 'zset:large', '1e-9', 'member-7'] },
  { change: 'a field of a hash', command: ['HSET', 'hash:large', 'field-7', 'other'] },
  { change: 'an acknowledged entry', command: ['XACK', 'stream:groups', 'readers', '4-0'] },
  { change: 'a delivered entry', command: ['XREADGROUP', 'GROUP', 'idle', 'eve', 'STREAMS', 'stream:groups', '>'] },
  { change: 'the last id of an empty stream', command: ['XSETID', 'stream:empty', '9-9'] },
  { change: 'a renamed key', command: ['RENAME', 'set:small', 'set:renamed'] },
  { change: 'a removed key', command: ['DEL', 'geo'], code: 'KEY_COUNT_DIFFERS' },
  { change: 'a key of another type', command: ['SORT', 'set:ints', 'STORE', 'set:small'], code: 'KEY_COUNT_DIFFERS' },
  { change: 'a key that expires now', command: ['EXPIRE', 'set:small', 900_000_000], code: 'KEY_COUNT_DIFFERS' },
  { change: 'a lost function', command: ['FUNCTION', 'FLUSH'], code: 'FUNCTION_COUNT_DIFFERS' },
];
const FIELD_CHANGES: typeof CHANGES = [
  {
    change: 'the expiry of a field',
    command: ['HPEXPIREAT', 'hash:field-expiry', 4_102_444_800_001, 'FIELDS', 1, 'f'],
  },
  {
    change: 'a field that does not expire any more',
    command: ['HPERSIST', 'hash:field-expiry-large', 'FIELDS', 1, 'field-1'],
  },
];

/** Saves a server and returns its file, in a folder that is removed with `files`. */
async function saved(server: RedisServer, files: string, name: string): Promise<string> {
  await server.call('SAVE');
  const path = join(files, `${name}.rdb`);
  await copyFile(join(server.dataDir, 'dump.rdb'), path);
  return path;
}
const walked = async (rdb: string): Promise<RdbReport> => await walkRdb(createReadStream(rdb));
function countedIn(report: RdbReport): RedisFingerprint {
  const fingerprint = fingerprintOf(report);
  if (fingerprint === null) throw new Error('the file was not counted');
  return fingerprint;
}
async function contents(programs: RedisPrograms, rdb: string, digests = true): Promise<RedisFingerprint> {
  const snapshotAt = snapshotTimeOf(await walked(rdb));
  await using scratch = await loadScratch(programs, { rdb });
  return await readFingerprint({ connection: scratch.connection, snapshotAt, digests, signal: never });
}
/** The digests of a seeded server, alike for servers that were seeded at different times. */
async function digestsOf(programs: RedisPrograms, config: RedisConfig = {}): Promise<RedisFingerprint['digests']> {
  await using files = await temporaryFolder();
  await using server = await startRedis({ programs, config });
  await seedKeys(server);
  return (await contents(programs, await saved(server, files.path, 'one'))).digests;
}

eachFlavor('the fingerprint of %s', (flavor) => {
  test('of the file equals what a scratch server holds, and digests are the same each time', async ({ skip }) => {
    const programs = programsOf(flavor, skip);
    await using files = await temporaryFolder();
    await using server = await startRedis({ programs });
    const counts = await seedKeys(server, 1_500);
    const rdb = await saved(server, files.path, 'one');
    const expected = countedIn(await walked(rdb));
    const first = await contents(programs, rdb);
    const comparison = compareFingerprints(expected, first, Date.now());
    const keys = Object.values(counts.databases).reduce((sum, database) => sum + database.keys, 0);
    expect(comparison).toEqual({ findings: [], comparedKeys: keys, expiredKeys: 0, undigestedKeys: 0 });
    const second = await contents(programs, rdb);
    expect(second).toEqual(first);
    expect(redisFingerprintSchema.parse(JSON.parse(JSON.stringify(first)))).toEqual(first);
    const compared = compareFingerprints({ ...expected, digests: first.digests }, second, Date.now());
    expect(compared).toMatchObject({ findings: [], undigestedKeys: counts.types['module'] ?? 0 });
  });

  test('does not depend on how values are stored', async ({ skip }) => {
    const programs = programsOf(flavor, skip);
    const plain = {
      'hash-max-listpack-entries': '0',
      'set-max-intset-entries': '0',
      'zset-max-listpack-entries': '0',
      'list-max-listpack-size': '1',
      'stream-node-max-entries': '1',
      rdbcompression: 'no',
    };
    expect(await digestsOf(programs, plain)).toEqual(await digestsOf(programs));
  });

  test('notices every change', async ({ skip }) => {
    await using server = await startRedis({ programs: programsOf(flavor, skip) });
    await seedKeys(server);
    // An entry for the group whose readers have seen all so far.
    await server.call('XADD', 'stream:groups', '1000-0', 'f', 'v');
    const changes = [...CHANGES, ...((await server.call('EXISTS', 'hash:field-expiry')) === 1 ? FIELD_CHANGES : [])];
    // The server itself is read: nothing else writes to it.
    const connection = redisConnectionSchema.parse(server.connection);
    const request = { connection, snapshotAt: 0, digests: true, signal: never };
    let before = await readFingerprint(request);
    for (const { change, command, code = 'DIGEST_DIFFERS' } of changes) {
      await server.call(...command);
      const after = await readFingerprint(request);
      const codes = compareFingerprints(before, after, 0).findings.map((finding) => finding.code);
      expect(codes, change).toContain(code);
      expect(compareFingerprints(after, after, 0).findings).toEqual([]);
      before = after;
    }
  });
});

describe('the fingerprint', () => {
  test('of one file is the same on a server of a newer version and of the other product', async ({ skip }) => {
    const old = programsOf('system', skip);
    await using files = await temporaryFolder();
    await using server = await startRedis({ programs: old });
    await seedKeys(server);
    const rdb = await saved(server, files.path, 'one');
    const { digests } = await contents(old, rdb);
    expect((await contents(programsOf('redis-8.2', skip), rdb)).digests).toEqual(digests);
    if ((await walked(rdb)).format?.version === 10)
      expect((await contents(programsOf('valkey-9.1', skip), rdb)).digests).toEqual(digests);
  });

  test('leaves out what has expired since, and the scratch server keeps counting it', async () => {
    await using files = await temporaryFolder();
    await using server = await startRedis();
    await server.call('MSET', 'a', 1, 'b', 2);
    for (const key of ['c', 'd', 'e']) await server.call('SET', key, 1, 'PX', 1_200);
    await server.call('SET', 'f', 1, 'PX', 3_000_000);
    const rdb = await saved(server, files.path, 'one');
    const report = await walked(rdb);
    await expect.poll(async () => await server.call('DBSIZE'), { timeout: 20_000 }).toBe(3);
    await using scratch = await loadScratch(await import('@lastgood/testkit').then((kit) => kit.redisPrograms()), {
      rdb,
    });
    expect(scratch.keysLoaded).toBe(6);
    await using session = await RedisSession.open(scratch.connection, never);
    expect(await session.call('DBSIZE')).toBe('6');
    const expected = countedIn(report);
    const request = { connection: scratch.connection, snapshotAt: expected.snapshotAt, digests: true, signal: never };
    const found = await readFingerprint(request);
    expect(compareFingerprints(expected, found, Date.now())).toEqual({
      findings: [],
      comparedKeys: 3,
      expiredKeys: 3,
      undigestedKeys: 0,
    });
    expect(compareFingerprints(expected, found, Date.now() + 3_000_000)).toMatchObject({
      comparedKeys: 2,
      expiredKeys: 4,
    });
  });

  test('reports progress', async () => {
    await using files = await temporaryFolder();
    await using server = await startRedis();
    await seedKeys(server, 2_000);
    const rdb = await saved(server, files.path, 'one');
    await using scratch = await loadScratch(server.programs, { rdb });
    const steps: number[] = [];
    await readFingerprint({
      connection: scratch.connection,
      snapshotAt: 0,
      digests: false,
      signal: never,
      onProgress: (keys) => steps.push(keys),
    });
    expect(steps.length).toBeGreaterThan(3);
    expect(steps).toEqual([...steps].sort((a, b) => a - b));
  });
});

describe('slots of expiry', () => {
  const MINUTE = 60_000;
  test.for([
    { after: null, slot: LASTING },
    { after: -5_000, slot: 0 },
    { after: 0, slot: 0 },
    { after: MINUTE - 1, slot: 0 },
    { after: MINUTE, slot: 1 },
    { after: 400 * 24 * 60 * MINUTE, slot: 15 },
  ])('a key that expires $after ms after the snapshot is in slot $slot', ({ after, slot }) => {
    expect(slotOf(1_000_000, after === null ? null : 1_000_000 + after)).toBe(slot);
  });

  test('a slot that is intact holds no expired key', () => {
    const instant = fc.integer({ min: 0, max: 2 ** 46 });
    fc.assert(
      fc.property(instant, fc.integer({ min: -1_000_000, max: 2 ** 40 }), instant, (snapshotAt, after, age) => {
        const expiresAt = snapshotAt + after;
        const now = snapshotAt + age;
        if (isIntact(snapshotAt, slotOf(snapshotAt, expiresAt), now)) expect(expiresAt).toBeGreaterThan(now);
      }),
    );
    expect(isIntact(0, LASTING, Number.MAX_SAFE_INTEGER)).toBe(true);
  });
});

describe('digests', () => {
  const parts = fc.array(fc.oneof(fc.string(), fc.constant(null), fc.integer()));
  test('of parts differ when the parts do, also when they are divided otherwise', () => {
    const hash = (words: readonly (string | number | null)[]): string =>
      new PartsHash()
        .add(...words)
        .digest()
        .toString('hex');
    expect(hash(['ab', 'c'])).not.toBe(hash(['a', 'bc']));
    expect(hash(['', 'a'])).not.toBe(hash([null, 'a']));
    fc.assert(
      fc.property(parts, parts, (one, other) => {
        const isSame = JSON.stringify(one.map(asText)) === JSON.stringify(other.map(asText));
        expect(hash(one) === hash(other)).toBe(isSame);
      }),
    );
  });
  const asText = (part: string | number | null): string | null => (part === null ? null : String(part));

  test('are summed in any order, and a doubled or lost one is noticed', () => {
    const digest = (text: string): Buffer => new PartsHash().add(text).digest();
    const sum = (texts: readonly string[]): string => {
      const total = new DigestSum();
      for (const text of texts) total.add(digest(text));
      return total.hex();
    };
    fc.assert(
      fc.property(fc.array(fc.string(), { minLength: 1 }), fc.nat(), (texts, seed) => {
        const moved = [...texts.slice(seed % texts.length), ...texts.slice(0, seed % texts.length)];
        expect(sum(moved)).toBe(sum(texts));
        expect(sum([...texts, texts[0] ?? ''])).not.toBe(sum(texts));
        expect(sum(texts.slice(1))).not.toBe(sum(texts));
        const exact = texts.reduce((total, text) => total + BigInt(`0x${digest(text).toString('hex')}`), 0n);
        expect(sum(texts)).toBe((exact % 2n ** 256n).toString(16).padStart(64, '0'));
      }),
    );
  });
});
