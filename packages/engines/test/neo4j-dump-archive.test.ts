import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, gzipSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkDumpArchive, DumpArchiveTee } from '../src/neo4j/index.ts';
import { MemorySink, never, streamOf } from './support/neo4j-lab.ts';

interface Entry {
  readonly name: string;
  readonly data: Buffer;
  /** Written as PAX records in front of the entry, as commons-compress does for long names and large files. */
  readonly pax?: Readonly<Record<string, string>>;
}

function tarHeader(name: string, size: number, type: string): Buffer {
  const header = Buffer.alloc(512);
  header.write(name.slice(0, 100), 0);
  header.write('0000644\0', 100);
  header.write(`${size.toString(8).padStart(11, '0')}\0`, 124);
  header.fill(' ', 148, 156);
  header.write(type, 156);
  header.write('ustar\x0000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}
const padded = (data: Buffer): Buffer => Buffer.concat([data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
function paxRecord(key: string, value: string): string {
  const body = ` ${key}=${value}\n`;
  let length = body.length;
  while (length !== `${length}${body}`.length) length = `${length}${body}`.length;
  return `${length}${body}`;
}
function tar(entries: readonly Entry[], end = Buffer.alloc(1024)): Buffer {
  const blocks = entries.flatMap(({ name, data, pax }) => {
    const records = Object.entries(pax ?? {}).map(([key, value]) => paxRecord(key, value));
    const extended = Buffer.from(records.join(''));
    const size = pax?.['size'] === undefined ? data.length : 0;
    const before = pax === undefined ? [] : [tarHeader('pax', extended.length, 'x'), padded(extended)];
    return [...before, tarHeader(name, size, '0'), padded(data)];
  });
  return Buffer.concat([...blocks, end]);
}
const head = (files: number, bytes: number, version = 1): Buffer => {
  const header = Buffer.alloc(24);
  header.write('zstd');
  header.writeInt32BE(version, 4);
  header.writeBigInt64BE(BigInt(files), 8);
  header.writeBigInt64BE(BigInt(bytes), 16);
  return header;
};
const bytesOf = (entries: readonly Entry[]): number => entries.reduce((sum, { data }) => sum + data.length, 0);
const zstd = (plain: Buffer, checksum = 1): Buffer =>
  Buffer.concat([
    Buffer.from('DZV1'),
    zstdCompressSync(plain, { params: { [constants.ZSTD_c_checksumFlag]: checksum } }),
  ]);
const archive = (entries: readonly Entry[]): Buffer =>
  zstd(Buffer.concat([head(entries.length, bytesOf(entries)), tar(entries)]));

const contentOf = (bytes: Buffer): Buffer => zstdDecompressSync(bytes.subarray(4));

const file = (name: string, size = 700): Entry => ({
  name: `./${name}`,
  data: Buffer.alloc(size, `${name} of a store, `),
});
const STORE = [
  file('neostore'),
  file('neostore.nodestore.db', 0),
  file('schema/index/range-1.0/1/index-1', 40_960),
  file('neostore.transaction.db.12', 3_000),
  file('neostore.transaction.db.13', 512),
  file('checkpoint.0', 592),
];
const GOOD = archive(STORE);
const check = (bytes: Buffer): ReturnType<typeof checkDumpArchive> => checkDumpArchive(streamOf(bytes), never);
const faultOf = async (bytes: Buffer): Promise<string> => {
  const report = await check(bytes);
  return report.state === 'damaged' ? report.fault : 'intact';
};

describe('an intact archive', () => {
  test('is described by its files, in the zstd and in the gzip format', async () => {
    const expected = {
      state: 'intact',
      files: STORE.length,
      bytes: bytesOf(STORE),
      transactionLogs: 2,
      sizes: new Map(STORE.map(({ name, data }) => [name.slice(2), data.length])),
    };
    expect(await check(GOOD)).toEqual({ ...expected, compression: 'zstd', archiveBytes: GOOD.length });
    const gzip = Buffer.concat([Buffer.from('DGV1'), gzipSync(tar(STORE))]);
    expect(await check(gzip)).toEqual({ ...expected, compression: 'gzip', archiveBytes: gzip.length });
  });

  test('may come in pieces of any size', async () => {
    for (const size of [1, 3, 7, 511]) {
      const pieces = Readable.from(
        Array.from({ length: Math.ceil(GOOD.length / size) }, (_, index) =>
          GOOD.subarray(index * size, (index + 1) * size),
        ),
      );
      expect((await checkDumpArchive(pieces, never)).state, `${size}`).toBe('intact');
    }
  });

  test('may have names and sizes in PAX records', async () => {
    const long = `schema/index/${'deep/'.repeat(40)}index-1`;
    const entries = [...STORE, { ...file('cut', 9), pax: { path: `./${long}`, size: '9', mtime: '1.5' } }];
    const report = await check(archive(entries));
    expect(report.state === 'intact' && report.sizes.get(long)).toBe(9);
  });

  test('of the block format of Enterprise needs no file neostore', async () => {
    const block = [file('block.x1.db'), ...STORE.filter(({ name }) => name !== './neostore')];
    expect(await faultOf(archive(block))).toBe('intact');
  });

  test('passes through the tee unchanged', async () => {
    const tee = new DumpArchiveTee();
    const sink = new MemorySink();
    await pipeline(streamOf(GOOD), tee, sink);
    expect(sink.bytes.equals(GOOD)).toBe(true);
    expect(tee.report()).toMatchObject({ state: 'intact', files: STORE.length });
  });

  test('of any size is checked in constant memory', async () => {
    const large = [...STORE, file('neostore.propertystore.db', 96 * 1024 * 1024)];
    const bytes = archive(large);
    global.gc?.();
    const before = process.memoryUsage().arrayBuffers;
    let peak = 0;
    const source = Readable.from(
      (function* () {
        for (let at = 0; at < bytes.length; at += 1024) {
          peak = Math.max(peak, process.memoryUsage().arrayBuffers - before);
          yield bytes.subarray(at, at + 1024);
        }
      })(),
    );
    expect((await checkDumpArchive(source, never)).state).toBe('intact');
    expect(peak).toBeLessThan(32 * 1024 * 1024);
  });
});

describe('a damaged archive is recognized', () => {
  test('wherever it is cut', async () => {
    for (let length = 0; length < GOOD.length; length += 1)
      expect(await faultOf(GOOD.subarray(0, length)), `cut to ${length}`).toBe('truncated');
  });

  test('whichever bit is flipped that changes the contents', async () => {
    const bit = fc.tuple(fc.nat(GOOD.length - 1), fc.nat(7));
    await fc.assert(
      fc.asyncProperty(bit, async ([at, shift]) => {
        const flipped = Buffer.from(GOOD);
        flipped[at] = (flipped[at] ?? 0) ^ (1 << shift);
        // Some bits of a compressed stream mean nothing, or the same in another way.
        if ((await faultOf(flipped)) === 'intact') expect(contentOf(flipped).equals(contentOf(GOOD))).toBe(true);
      }),
      { numRuns: 400, seed: 1 },
    );
  });

  test.each<[string, string, Buffer]>([
    ['random bytes', 'unknown-format', Buffer.from('this is not an archive of Neo4j')],
    ['another magic', 'unknown-format', Buffer.concat([Buffer.from('DZV2'), GOOD.subarray(4)])],
    ['the tail of an older archive', 'trailing-bytes', Buffer.concat([GOOD, Buffer.from('tail')])],
    ['zeros behind the end', 'trailing-bytes', Buffer.concat([GOOD, Buffer.alloc(4096)])],
    ['a second archive behind the first', 'trailing-bytes', Buffer.concat([GOOD, GOOD])],
    ['no checksum', 'no-checksum', zstd(Buffer.concat([head(STORE.length, bytesOf(STORE)), tar(STORE)]), 0)],
    ['another version', 'unknown-version', zstd(Buffer.concat([head(STORE.length, bytesOf(STORE), 2), tar(STORE)]))],
    ['one file less', 'count-mismatch', zstd(Buffer.concat([head(STORE.length, bytesOf(STORE)), tar(STORE.slice(1))]))],
    ['one byte less', 'count-mismatch', zstd(Buffer.concat([head(STORE.length, bytesOf(STORE) - 1), tar(STORE)]))],
    [
      'no end of the tar stream',
      'truncated',
      zstd(Buffer.concat([head(6, bytesOf(STORE)), tar(STORE, Buffer.alloc(0))])),
    ],
    ['entries behind the end', 'tar-header', zstd(Buffer.concat([head(6, bytesOf(STORE)), tar(STORE), tar(STORE)]))],
    ['a path out of the store', 'unsafe-path', archive([...STORE, file('../../etc/passwd')])],
    ['an absolute path', 'unsafe-path', archive([...STORE, { name: '/etc/passwd', data: Buffer.alloc(1) }])],
    ['no store', 'store-files-missing', archive(STORE.filter(({ name }) => name !== './neostore'))],
    ['no transaction log', 'store-files-missing', archive(STORE.filter(({ name }) => !name.includes('transaction')))],
    ['no checkpoint', 'store-files-missing', archive(STORE.slice(0, -1))],
    [
      'a gzip archive that is cut',
      'truncated',
      Buffer.concat([Buffer.from('DGV1'), gzipSync(tar(STORE)).subarray(0, -9)]),
    ],
  ])('with %s', async (_, fault, bytes) => {
    expect(await faultOf(bytes)).toBe(fault);
  });

  test('and an unreadable one is an error', async () => {
    const broken = Readable.from(
      (async function* () {
        yield GOOD.subarray(0, 100);
        throw new Error('EIO');
      })(),
    );
    await expect(checkDumpArchive(broken, never)).rejects.toThrow('EIO');
  });
});
