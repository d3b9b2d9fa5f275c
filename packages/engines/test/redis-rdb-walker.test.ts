import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type KeyCounts, type RedisConfig, type RedisPrograms, seedKeys, startRedis } from '@lastgood/testkit';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Crc64, fingerprintOf, judgeRdb, type RdbReport, RdbWalker, walkRdb, writerOf } from '../src/redis/index.ts';
import { eachFlavor, programsOf } from './support/redis-flavors.ts';

interface Dump {
  readonly bytes: Buffer;
  readonly counts: KeyCounts;
}
async function dumpOf(programs: RedisPrograms, config: RedisConfig = {}, copies = 100): Promise<Dump> {
  await using server = await startRedis({ programs, config });
  const counts = await seedKeys(server, copies);
  await server.call('SAVE');
  return { bytes: await readFile(join(server.dataDir, 'dump.rdb')), counts };
}
function walk(bytes: Buffer, chunkSize = 64 * 1024): RdbReport {
  const walker = new RdbWalker();
  for (let at = 0; at < bytes.length; at += chunkSize) walker.push(bytes.subarray(at, at + chunkSize));
  return walker.report();
}
const codesOf = (bytes: Buffer): string[] => judgeRdb(walk(bytes)).map(({ code, severity }) => `${severity} ${code}`);
const flipped = (bytes: Buffer, at: number): Buffer => {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 0x10;
  return copy;
};

eachFlavor('the RDB file of %s', (flavor) => {
  test('is counted by database, type and expiry, and its checksum matches', async ({ skip }) => {
    const programs = programsOf(flavor, skip);
    const { bytes, counts } = await dumpOf(programs);
    const report = walk(bytes);
    expect(report).toMatchObject({ state: 'whole', checksum: 'matches', trailingBytes: 0, uncounted: null });
    expect(judgeRdb(report)).toEqual([]);
    expect(writerOf(report)).toEqual({ product: programs.product, version: programs.version });
    expect(report.counts.functions).toBe(counts.functions);
    expect(report.counts.types).toEqual(counts.types);
    const databases = Object.entries(counts.databases).map(([db, count]) => [db, { ...count, announced: count.keys }]);
    expect(report.counts.databases).toEqual(Object.fromEntries(databases));
    expect(report.counts.moduleTypes).toEqual(counts.types['module'] === undefined ? [] : ['vectorset']);
  });

  test('gives the same report however its bytes are divided', async ({ skip }) => {
    const { bytes } = await dumpOf(programsOf(flavor, skip), {}, 0);
    const whole = walk(bytes, bytes.length);
    fc.assert(
      fc.property(fc.infiniteStream(fc.integer({ min: 1, max: 5_000 })), (sizes) => {
        const walker = new RdbWalker();
        let at = 0;
        for (const size of sizes) {
          if (at >= bytes.length) break;
          walker.push(bytes.subarray(at, at + size));
          at += size;
        }
        expect(walker.report()).toEqual(whole);
      }),
      { numRuns: 50 },
    );
    expect(walk(bytes, 1)).toEqual(whole);
  });

  test('is found incomplete wherever it is cut, and damaged wherever a bit is flipped', async ({ skip }) => {
    const { bytes } = await dumpOf(programsOf(flavor, skip), {}, 0);
    const places = fc.integer({ min: 0, max: bytes.length - 1 });
    const hasError = (damaged: Buffer): boolean => judgeRdb(walk(damaged)).some(({ severity }) => severity === 'error');
    fc.assert(
      fc.property(places, (at) => hasError(bytes.subarray(0, at)) && hasError(flipped(bytes, at))),
      { numRuns: 300 },
    );
  });
});

describe('damage of a file of the system', () => {
  const whole = async (skip: Parameters<typeof programsOf>[1], config: RedisConfig = {}): Promise<Buffer> =>
    (await dumpOf(programsOf('system', skip), config, 0)).bytes;
  test.for([
    { damage: 'half of it', change: (b: Buffer) => b.subarray(0, b.length / 2), codes: ['error RDB_INCOMPLETE'] },
    { damage: 'without its last 8 bytes', change: (b: Buffer) => b.subarray(0, -8), codes: ['error RDB_INCOMPLETE'] },
    { damage: 'without its last byte', change: (b: Buffer) => b.subarray(0, -1), codes: ['error RDB_INCOMPLETE'] },
    {
      damage: 'a flipped bit of a checksum',
      change: (b: Buffer) => flipped(b, b.length - 3),
      codes: ['error RDB_CHECKSUM_DIFFERS'],
    },
    {
      damage: 'bytes behind its end',
      change: (b: Buffer) => Buffer.concat([b, Buffer.from('garbage')]),
      codes: ['error RDB_TRAILING_BYTES'],
    },
    { damage: 'an empty file', change: () => Buffer.alloc(0), codes: ['error RDB_NOT_RDB'] },
    { damage: 'other bytes', change: () => Buffer.from('#!/bin/sh\necho hello\n'), codes: ['error RDB_NOT_RDB'] },
  ])('$damage → $codes', async ({ change, codes }, { skip }) => {
    expect(codesOf(change(await whole(skip)))).toEqual(codes);
  });

  test('a file that was written without a checksum is reported as not self-checking, also when a value was changed', async ({
    skip,
  }) => {
    const bytes = await whole(skip, { rdbchecksum: 'no', rdbcompression: 'no' });
    expect(bytes.subarray(-8)).toEqual(Buffer.alloc(8));
    expect(codesOf(bytes)).toEqual(['warning RDB_NOT_SELF_CHECKING']);
    const changed = flipped(bytes, bytes.indexOf('lorem ipsum'));
    expect(codesOf(changed)).toEqual(['warning RDB_NOT_SELF_CHECKING']);
  });

  test('a lost key of a file without a checksum is seen by the count that the file announces', async ({ skip }) => {
    const bytes = await whole(skip, { rdbchecksum: 'no' });
    const at = bytes.indexOf('\u0000\fstring:short\u0005value');
    expect(at).toBeGreaterThan(0);
    const shorter = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 20)]);
    expect(codesOf(shorter)).toEqual(['warning RDB_NOT_SELF_CHECKING', 'error RDB_COUNT_DIFFERS']);
  });
});

describe('a file of a newer format', () => {
  const seal = (bytes: Buffer): Buffer => {
    const crc = new Crc64();
    crc.update(bytes);
    return Buffer.concat([bytes, crc.digest()]);
  };
  const header = Buffer.from('REDIS0013\u00fa\u0009redis-ver\u00058.8.0', 'latin1');
  const unknown = Buffer.from([0xfe, 0x00, 0x00, 0x01, 0x61, 0x01, 0x62, 0x63, 0x01, 0x63, 0x07, 0xff]);

  test('is checked to its end and reported as not counted', () => {
    const report = walk(seal(Buffer.concat([header, unknown])), 5);
    expect(report).toMatchObject({
      state: 'whole',
      checksum: 'matches',
      uncounted: { offset: header.length + 7, byte: 0x63 },
    });
    expect(judgeRdb(report).map(({ code, severity }) => [severity, code])).toEqual([['warning', 'RDB_NOT_COUNTED']]);
    expect(fingerprintOf(report)).toBeNull();
    expect(report.counts.databases).toEqual({ 0: { keys: 1, expires: 0, announced: null } });
  });

  test('and without a checksum is not self-checking; the same bytes in a known format are damaged', () => {
    const zeros = Buffer.alloc(8);
    expect(codesOf(Buffer.concat([header, unknown, zeros]))).toEqual([
      'warning RDB_NOT_SELF_CHECKING',
      'warning RDB_NOT_COUNTED',
    ]);
    const known = Buffer.from(header.toString('latin1').replace('REDIS0013', 'REDIS0012'), 'latin1');
    expect(codesOf(Buffer.concat([known, unknown, zeros]))).toEqual(['error RDB_CHECKSUM_DIFFERS']);
    expect(codesOf(Buffer.concat([header, unknown.subarray(0, -1), zeros]))).toEqual(['error RDB_CHECKSUM_DIFFERS']);
  });

  test('is found damaged when its checksum differs', () => {
    expect(codesOf(flipped(seal(Buffer.concat([header, unknown])), header.length + 9))).toEqual([
      'error RDB_CHECKSUM_DIFFERS',
    ]);
  });

  test('whose end the walker misses is whole when the checksum of all of it matches', () => {
    // A length that runs beyond the end of the file.
    const misread = seal(Buffer.concat([header, Buffer.from([0x00, 0x01, 0x61, 0x80, 0, 1, 0, 0, 0xff])]));
    expect(judgeRdb(walk(misread)).map(({ code }) => code)).toEqual(['RDB_NOT_COUNTED']);
  });
});

test('a field of the server that is longer than the walker reads is skipped, however the bytes are divided', () => {
  const long = Buffer.alloc(70_000, 'x');
  const length = Buffer.from([0x80, 0x00, 0x01, 0x11, 0x70]);
  const field = Buffer.concat([Buffer.from([0xfa, 0x03]), Buffer.from('lua'), length, long]);
  const file = Buffer.concat([Buffer.from('REDIS0010'), field, Buffer.from([0xff]), Buffer.alloc(8)]);
  for (const size of [1, 1_000, file.length]) {
    const report = walk(file, size);
    expect(report).toMatchObject({ state: 'whole', uncounted: null, aux: {} });
  }
  const longName = Buffer.concat([
    Buffer.from('REDIS0010'),
    Buffer.from([0xfa]),
    length,
    long,
    Buffer.from([0x01, 0x61]),
  ]);
  expect(walk(longName, 1_000).uncounted).toEqual({ offset: 9, byte: 0xfa });
});

test('the checksum is the one of Jones', () => {
  const crc = new Crc64();
  crc.update(Buffer.from('1234'));
  crc.update(Buffer.from('56789'));
  expect(crc.digest().reverse().toString('hex')).toBe('e9c6d914c4b8d9ca');
});

test('a failing source fails the walk', async () => {
  const source = Readable.from(
    (function* () {
      yield Buffer.from('REDIS0010');
      throw new RangeError('disk');
    })(),
  );
  await expect(walkRdb(source)).rejects.toThrow(RangeError);
});
