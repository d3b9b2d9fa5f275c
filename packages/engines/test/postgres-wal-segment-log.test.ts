import { createHash } from 'node:crypto';
import { access, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { noSteps, type SegmentLog } from '@lastgood/core';
import { systemClock } from '@lastgood/host';
import { createFolderRepository } from '@lastgood/repository';
import { temporaryFolder } from '@lastgood/testkit';
import { beforeEach, expect, test } from 'vitest';
import { postgresMethods } from '../src/postgres/backup-methods.ts';
import { awaitStream } from '../src/postgres/wal/backup-wal.ts';
import { segmentLogSink, segmentLogSource } from '../src/postgres/wal/segment-log.ts';
import { segmentName } from '../src/postgres/wal/segment-name.ts';
import type { WalFile } from '../src/postgres/wal/segment-sink.ts';
import { codeOf, ref } from './support/engine-harness.ts';

const MIB = 2 ** 20;
const signal = new AbortController().signal;
const NAME = '000000010000000000000005';
let folder: string;
let log: SegmentLog;
beforeEach(async () => {
  const own = await temporaryFolder();
  folder = own.path;
  log = (await createFolderRepository({ path: join(folder, 'repository'), understood: postgresMethods })).log(
    ref,
    'wal',
  );
  return () => own[Symbol.asyncDispose]();
});

/** A file of the spool, as the inspector describes it. */
async function fileOf(name: string, bytes: Buffer, kind: WalFile['kind'] = 'segment'): Promise<WalFile> {
  const path = join(folder, 'spooled');
  await writeFile(path, bytes);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return { kind, name, timeline: 1, number: 5, path, sizeBytes: bytes.length, sha256, content: null };
}
const wanted = { timeline: 1, number: 5, isPartial: false };

test('a segment goes into the repository and comes back', async () => {
  const bytes = Buffer.alloc(MIB, 7);
  expect(await segmentLogSink(log).append(await fileOf(NAME, bytes), signal)).toBe('stored');
  expect(await log.list()).toEqual([NAME]);
  await segmentLogSource(log, MIB).fetch(wanted, join(folder, 'fetched'), signal);
  expect((await readFile(join(folder, 'fetched'))).equals(bytes)).toBe(true);
});

test('the WAL of a backup is stored when every segment of it is, not only the last one', async () => {
  const name = (number: number): string => segmentName(1, number, MIB);
  const context = {
    workDir: folder,
    signal,
    clock: systemClock,
    steps: noSteps,
    progress: () => undefined,
    log: () => undefined,
  };
  const store = async (...numbers: number[]): Promise<void> => {
    for (const number of numbers)
      await segmentLogSink(log).append(await fileOf(name(number), Buffer.alloc(MIB, number)), signal);
  };
  const stored = (): Promise<string> =>
    codeOf(awaitStream(log, 1, context).untilStored(5n * BigInt(MIB) + 40n, 8n * BigInt(MIB), 1, MIB));
  await store(5, 7);
  expect(await stored()).toBe('STREAM_STOPPED');
  await store(6);
  expect(await stored()).toBe('nothing was refused');
});

test('G4: the same bytes again are stored already', async () => {
  const file = await fileOf(NAME, Buffer.alloc(MIB, 7));
  expect([await segmentLogSink(log).append(file, signal), await segmentLogSink(log).append(file, signal)]).toEqual([
    'stored',
    'stored',
  ]);
});

test('G3: other bytes under the same name are a conflict, and the first stay', async () => {
  const sink = segmentLogSink(log);
  await sink.append(await fileOf(NAME, Buffer.alloc(MIB, 7)), signal);
  expect(await sink.append(await fileOf(NAME, Buffer.alloc(MIB, 8)), signal)).toBe('conflict');
  await segmentLogSource(log, MIB).fetch(wanted, join(folder, 'fetched'), signal);
  expect((await readFile(join(folder, 'fetched')))[0]).toBe(7);
});

test('a file that changed after it was checked is a failure', async () => {
  const file = await fileOf(NAME, Buffer.alloc(MIB, 7));
  await writeFile(file.path, Buffer.alloc(MIB, 8));
  expect(await codeOf(segmentLogSink(log).append(file, signal))).toBe('IO_ERROR');
});

test('a partial segment is filled up to its full size', async () => {
  await segmentLogSink(log).append(await fileOf(`${NAME}.partial`, Buffer.alloc(100, 7), 'partial'), signal);
  await segmentLogSource(log, MIB).fetch({ ...wanted, isPartial: true }, join(folder, 'fetched'), signal);
  const fetched = await readFile(join(folder, 'fetched'));
  expect([fetched.length, fetched[99], fetched[100]]).toEqual([MIB, 7, 0]);
});

test('a segment that is gone is a damaged backup, and nothing is left of it', async () => {
  expect(await codeOf(segmentLogSource(log, MIB).fetch(wanted, join(folder, 'fetched'), signal))).toBe(
    'BACKUP_CORRUPT',
  );
  await expect(access(join(folder, 'fetched'))).rejects.toMatchObject({ code: 'ENOENT' });
});
