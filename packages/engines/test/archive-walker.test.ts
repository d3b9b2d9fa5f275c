import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { Failure } from '@lastgood/core';
import { runTool } from '@lastgood/host';
import { seedShop, startPostgres } from '@lastgood/testkit';
import { beforeAll, expect, test } from 'vitest';
import { ArchiveWalker } from '../src/postgres/archive-walker.ts';

let archive: Buffer;
let tables: unknown[];

beforeAll(async () => {
  await using server = await startPostgres();
  await seedShop(server, 'shop', { rows: 200 });
  await server.query(
    'shop',
    "select lo_from_bytea(0, 'one'), lo_from_bytea(0, ''), lo_from_bytea(0, repeat('x', 100000)::bytea)",
  );
  const kinds = "select oid::text as oid from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace";
  tables = (await server.query('shop', kinds)).map((row) => row['oid']);
  const { host, port, user, passfile } = server.connection;
  const env = { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSFILE: passfile, PGDATABASE: 'shop' };
  const sink = new PassThrough();
  const bytes = buffer(sink);
  const call = { file: join(server.binDir, 'pg_dump'), args: ['--format=custom', '--compress=0'], env };
  await runTool({ ...call, signal: new AbortController().signal, timeoutMs: 60_000 }, sink);
  archive = await bytes;
});

function walk(bytes: Buffer, piece = 64 * 1024): ArchiveWalker {
  const walker = new ArchiveWalker();
  for (let at = 0; at < bytes.length; at += piece) walker.push(bytes.subarray(at, at + piece));
  return walker;
}

test.for([1, 2, 3, 5, 7, 13, 4096, 65_537, 100_000_000])(
  'follows an archive in pieces of %i bytes to its end',
  (piece) => {
    const walker = walk(archive, piece);
    expect([walker.missing(), walker.unknownFormat]).toEqual([null, null]);
    expect([...walker.tables]).toEqual(expect.arrayContaining(tables));
  },
);

test('A3: tells an archive that was cut at any byte from a whole one', () => {
  const step = Math.max(1, Math.floor(archive.length / 3_000));
  const undetected: number[] = [];
  for (let end = 0; end < archive.length; end += step)
    if (walk(archive.subarray(0, end)).missing() === null) undetected.push(end);
  for (let end = archive.length - 300; end < archive.length; end += 1)
    if (walk(archive.subarray(0, end)).missing() === null) undetected.push(end);
  expect(undetected).toEqual([]);
});

test('A3: refuses what is not an archive, bytes behind its end, and an empty table of contents', () => {
  const refused = (bytes: Buffer): string | undefined => {
    try {
      return walk(bytes).missing() ?? undefined;
    } catch (error) {
      return error instanceof Failure ? error.code : String(error);
    }
  };
  expect(refused(Buffer.from('-- PostgreSQL database dump, as text'))).toBe('TOOL_FAILED');
  expect(refused(Buffer.concat([archive, Buffer.from('warning: something')]))).toBe('TOOL_FAILED');
  expect(refused(Buffer.concat([archive, archive]))).toBe('TOOL_FAILED');
  expect(refused(Buffer.concat([archive, Buffer.from([1])]))).toContain('block of data');
  expect(refused(Buffer.alloc(0))).toContain('table of contents');
});

test('says nothing of a format that it does not know', () => {
  const later = Buffer.from(archive);
  later[6] = 99;
  const walker = walk(later.subarray(0, 5_000));
  expect([walker.unknownFormat, walker.missing()]).toEqual(['1.99', null]);
});
