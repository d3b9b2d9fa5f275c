import { createHash } from 'node:crypto';
import { Failure } from '@lastgood/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ArchiveChecker } from '../src/postgres/physical/archive-checker.ts';
import { parseBackupLabel } from '../src/postgres/physical/backup-label.ts';
import { compareFiles, parseBackupManifest } from '../src/postgres/physical/backup-manifest.ts';
import { parseByteSize } from '../src/postgres/physical/byte-size.ts';
import { hasPages, PageChecker, pageChecksum } from '../src/postgres/physical/page-checksums.ts';
import { parseTablespaceMap } from '../src/postgres/physical/tablespace-map.ts';
import { TarParser } from '../src/postgres/physical/tar-parser.ts';
import { tarEntry, tarOf } from './support/tar.ts';

const codeIn = (work: () => unknown): string => {
  try {
    work();
    return 'nothing was refused';
  } catch (error) {
    return error instanceof Failure ? error.code : String(error);
  }
};
/** The files of an archive that arrives in pieces of one size. */
function unpack(archive: Buffer, pieceBytes: number): Record<string, string> {
  const files: Record<string, string> = {};
  const parser = new TarParser();
  let path = '';
  for (let at = 0; at < archive.length; at += pieceBytes)
    for (const event of parser.push(archive.subarray(at, at + pieceBytes))) {
      if (event.kind === 'entry') {
        path = event.entry.path;
        files[path] = event.entry.type === 'file' ? '' : event.entry.type;
      } else if (event.kind === 'data') files[path] += event.bytes.toString('latin1');
    }
  parser.finish();
  return files;
}

describe('a tar archive', () => {
  const content = { backup_label: 'START', 'base/1/112': 'x'.repeat(512), 'base/1/113': 'y'.repeat(1000), empty: '' };
  const archive = tarOf([
    { path: 'base/1/', type: '5' },
    ...Object.entries(content).map(([path, text]) => ({ path, content: Buffer.from(text) })),
    { path: './pg_wal/archive_status/', type: '5' },
    { path: 'pg_tblspc/16400/', type: '2', linkTarget: '/somewhere' },
  ]);
  const all = { ...content, 'base/1': 'directory', 'pg_wal/archive_status': 'directory', 'pg_tblspc/16400': 'symlink' };

  test.for([1, 7, 511, 512, 513, 4096, 1_000_000])('is read in pieces of %i bytes', (pieceBytes, { expect }) => {
    expect(unpack(archive, pieceBytes)).toEqual(all);
  });
  test('without closing blocks is whole, as before PostgreSQL 15', () => {
    expect(unpack(archive.subarray(0, archive.length - 1024), 4096)).toEqual(all);
  });
  test('that is cut anywhere inside an entry is refused', () => {
    for (const length of [100, 512 + 100, 1024 + 4, 1024 + 512 + 3])
      expect(codeIn(() => unpack(archive.subarray(0, length), 4096))).toBe('BACKUP_CORRUPT');
  });
  test('with data after its end is refused', () => {
    expect(codeIn(() => unpack(Buffer.concat([archive, archive]), 4096))).toBe('BACKUP_CORRUPT');
  });
  test('with a flipped bit in a header is refused', () => {
    const flipped = Buffer.from(archive);
    flipped.writeUInt8((flipped[3] ?? 0) ^ 0x10, 3);
    expect(codeIn(() => unpack(flipped, 4096))).toBe('BACKUP_CORRUPT');
  });
  test.for([
    ['../outside', '0'],
    ['base/../../outside', '0'],
    ['/etc/passwd', '0'],
    ['base//1', '0'],
    ['././..', '0'],
    ['', '0'],
    ['.', '5'],
    ['hard link', '1'],
    ['character device', '3'],
    ['block device', '4'],
    ['fifo', '6'],
    ['pax', 'x'],
    ['long name', 'L'],
    ['sparse', 'S'],
  ] as const)('F6: that holds %j of type %s is refused', ([path, type], { expect }) => {
    expect(codeIn(() => unpack(tarOf([{ path, type }]), 4096))).toBe('BACKUP_CORRUPT');
  });
  test('gives the size of a file of 20 GiB', () => {
    const header = tarEntry({ path: 'base/1/9', sizeBytes: 20 * 2 ** 30 });
    const [event] = [...new TarParser().push(header)];
    expect(event).toMatchObject({ entry: { path: 'base/1/9', sizeBytes: 20 * 2 ** 30 } });
  });
});

describe('the manifest', () => {
  const make = (body: string): Buffer => {
    const text = `{ "PostgreSQL-Backup-Manifest-Version": 1,\n"Files": [${body}],\n"WAL-Ranges": [\n{ "Timeline": 10, "Start-LSN": "0/2000028", "End-LSN": "1/2000100" }\n],\n`;
    const sum = createHash('sha256').update(text).digest('hex');
    return Buffer.from(`${text}"Manifest-Checksum": "${sum}"}\n`);
  };
  const sha256 = createHash('sha256').update('x').digest('hex');
  const file = (path: string): string =>
    `{ ${path}, "Size": 1, "Last-Modified": "2026-01-01 00:00:00 GMT", "Checksum-Algorithm": "SHA256", "Checksum": "${sha256}" }`;

  test('lists files and the WAL that they need', () => {
    const manifest = parseBackupManifest(make(`${file('"Path": "PG_VERSION"')}, ${file('"Encoded-Path": "62ff"')}`));
    expect([...manifest.files.keys()]).toEqual(['PG_VERSION', 'b\ufffd']);
    expect(manifest.walRanges).toEqual([{ timeline: 10, from: 0x2000028n, to: 0x102000100n }]);
  });
  test('whose bytes were changed is refused', () => {
    const bytes = make(file('"Path": "PG_VERSION"'));
    const edited = Buffer.from(bytes.toString().replace('"Size": 1', '"Size": 2'));
    expect(codeIn(() => parseBackupManifest(edited))).toBe('BACKUP_CORRUPT');
  });
  test.for([
    ['no JSON', Buffer.from('{')],
    ['a file twice', make(`${file('"Path": "a"')}, ${file('"Path": "a"')}`)],
    ['a file without a path', make(file('"Other": "a"'))],
    ['another checksum algorithm', make(file('"Path": "a"').replace('SHA256', 'CRC32C'))],
  ] as const)('with %s is refused', ([, bytes], { expect }) => {
    expect(codeIn(() => parseBackupManifest(bytes))).toBe('BACKUP_CORRUPT');
  });
  test('M6: is compared with what was found: missing, unexpected, shorter, changed', () => {
    const digest = (text: string) => ({
      sizeBytes: text.length,
      sha256: createHash('sha256').update(text).digest('hex'),
    });
    const listed = new Map([
      ['gone', digest('a')],
      ['short', digest('ab')],
      ['changed', digest('ab')],
      ['same', digest('a')],
    ]);
    const found = new Map([
      ['short', digest('a')],
      ['changed', digest('ba')],
      ['same', digest('a')],
      ['recovery.signal', digest('')],
    ]);
    expect(compareFiles(listed, found)).toEqual([
      { code: 'missing', path: 'gone' },
      { code: 'size', path: 'short' },
      { code: 'checksum', path: 'changed' },
      { code: 'unexpected', path: 'recovery.signal' },
    ]);
  });
});

describe('small files', () => {
  test('a label of another language of the server reads the same', () => {
    const text =
      'START WAL LOCATION: 1A/2000028 (file 000000010000001A00000002)\nCHECKPOINT LOCATION: 1A/2000060\nBACKUP METHOD: streamed\nBACKUP FROM: standby\nSTART TIME: 2026-11-30 13:00:00 CET\nLABEL: a: b\nSTART TIMELINE: 11\n';
    expect(parseBackupLabel(text)).toEqual({
      startLsn: 0x1a02000028n,
      checkpointLsn: 0x1a02000060n,
      timeline: 11,
      isFromStandby: true,
      label: 'a: b',
    });
    expect(codeIn(() => parseBackupLabel(text.replace('START WAL', 'WAL')))).toBe('BACKUP_CORRUPT');
  });
  test('a map of tablespaces with line ends and backslashes in paths', () => {
    expect(parseTablespaceMap('16384 /plain path\n16385 /with\\\nline\\\\end\n')).toEqual([
      { oid: '16384', location: '/plain path' },
      { oid: '16385', location: '/with\nline\\end' },
    ]);
    expect(parseTablespaceMap('')).toEqual([]);
    expect(codeIn(() => parseTablespaceMap('x /path\n'))).toBe('BACKUP_CORRUPT');
  });
  test.for([
    ['16MB', 2 ** 24],
    ['1GB', 2 ** 30],
    ['512kB', 2 ** 19],
    ['-1MB', -(2 ** 20)],
  ] as const)('the size %s', ([text, bytes], { expect }) => {
    expect(parseByteSize(text)).toBe(bytes);
  });
});

describe('page checksums', () => {
  const page = (fill: number, block: number, lsn = 5n): Buffer => {
    const bytes = Buffer.alloc(8192, fill);
    bytes.writeUInt32LE(Number(lsn >> 32n), 0);
    bytes.writeUInt32LE(Number(lsn & 0xffffffffn), 4);
    bytes.writeUInt16LE(8192, 14);
    const words = new Int32Array(new Uint8Array(bytes).buffer);
    bytes.writeUInt16LE(pageChecksum(words, block), 8);
    return bytes;
  };

  test('any flipped bit is found, in the file segment and block where it is', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 3 }),
        fc.integer({ min: 16, max: 8191 }),
        fc.integer({ min: 0, max: 7 }),
        (block, byte, bit) => {
          const pages = [0, 1, 2, 3].map((each) => page(each + 1, 131_072 + each));
          const hit = pages[block] ?? Buffer.alloc(0);
          hit.writeUInt8((hit[byte] ?? 0) ^ (1 << bit), byte);
          const checker = new PageChecker('base/5/16384.1', 100n, 8192);
          const whole = Buffer.concat(pages);
          const damaged = [whole.subarray(0, 5000), whole.subarray(5000)].flatMap((bytes) => [...checker.push(bytes)]);
          expect(damaged).toEqual([{ path: 'base/5/16384.1', block: 131_072 + block }]);
        },
      ),
      { numRuns: 300 },
    );
  });
  test('new pages and pages that replay writes anew are skipped', () => {
    const checker = new PageChecker('base/5/16384', 100n, 8192);
    const torn = page(1, 1, 100n);
    torn.writeUInt8(77, 6000);
    expect(checker.push(Buffer.concat([Buffer.alloc(8192), torn, page(9, 2)]))).toEqual([]);
    expect(checker.checked).toBe(1);
  });
  test('only relation files have pages', () => {
    const relations = [
      'base/5/16384',
      'base/5/16384.12',
      'base/5/2619_fsm',
      'base/5/2619_vm.1',
      'global/1260',
      'pg_tblspc/16390/PG_15_202209061/5/16391_init',
    ];
    const others = [
      'global/pg_control',
      'base/5/pg_filenode.map',
      'base/5/PG_VERSION',
      'base/5/pg_internal.init',
      'pg_wal/000000010000000000000001',
      'pg_xact/0000',
      'postgresql.conf',
    ];
    expect([relations.filter(hasPages), others.filter(hasPages)]).toEqual([relations, []]);
  });
});

test('a file that two archives hold is refused', async () => {
  const checker = new ArchiveChecker(null);
  const read = async (): Promise<void> => {
    const archive = tarOf([{ path: 'base/1/2', content: Buffer.from('x') }]);
    for await (const chunk of checker.check(
      null,
      (async function* () {
        yield archive;
      })(),
    ))
      void chunk;
  };
  await read();
  await expect(read()).rejects.toMatchObject({ code: 'BACKUP_CORRUPT' });
});
