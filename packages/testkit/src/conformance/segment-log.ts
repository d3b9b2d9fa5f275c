import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { SegmentLog } from '@lastgood/core';
import { expect, test } from 'vitest';
import { change, codeOf, flipMiddle, METHOD, namesOf, never, type Parts, publish, ref } from './repository-harness.ts';

export const segmentOf = (content: string) => (): Readable =>
  Readable.from([Buffer.from(content)], { objectMode: false });
export const readSegment = async (log: SegmentLog, segment: string): Promise<string> =>
  await text(await log.read(segment, never));
const LOG = 'test/db-1/shop/logs/wal/';

export function describeSegmentLog(parts: Parts): void {
  describeAppend(parts);
  describeDamagedSegments(parts);
  describeOldSegments(parts);
}

function describeAppend({ under, faulty, repository }: Parts): void {
  const log = (): SegmentLog => repository().log(ref, 'wal');

  test('I5: appends segments, lists ranges and returns their bytes', async () => {
    for (const segment of ['0001', '0002', '0003', '0003.partial'])
      expect(await log().append(segment, segmentOf(`bytes of ${segment}`))).toMatchObject({ segment, isNew: true });
    expect(await log().list()).toEqual(['0001', '0002', '0003', '0003.partial']);
    expect(await log().list({ from: '0002', to: '0003' })).toEqual(['0002', '0003']);
    expect(await readSegment(log(), '0003.partial')).toBe('bytes of 0003.partial');
    expect(await codeOf(readSegment(log(), '0004'))).toBe('NOT_FOUND');
    expect(await repository().log(ref, 'other').list()).toEqual([]);
  });

  test('G4: appending the same bytes again succeeds and changes nothing', async () => {
    const first = await log().append('0001', segmentOf('one'));
    const before = await namesOf(under().store);
    expect(await log().append('0001', segmentOf('one'))).toEqual({ ...first, isNew: false });
    expect(await namesOf(under().store)).toEqual(before);
  });

  test('I5: refuses other bytes under the same name and keeps the first segment', async () => {
    await log().append('0001', segmentOf('one'));
    expect(await codeOf(log().append('0001', segmentOf('two')))).toBe('SEGMENT_CONFLICT');
    expect(await readSegment(log(), '0001')).toBe('one');
  });

  test('I5: at most one of two concurrent appends of different bytes succeeds', async () => {
    const other = (await under().open(under().store, { writer: 'ours', understood: [METHOD] })).log(ref, 'wal');
    for (let round = 0; round < 10; round += 1) {
      const segment = `000${round}`;
      const codes = await Promise.all([
        codeOf(log().append(segment, segmentOf('one'))),
        codeOf(other.append(segment, segmentOf('two'))),
      ]);
      const succeeded = codes.flatMap((code, index) => (code === 'succeeded' ? [['one', 'two'][index]] : []));
      expect(succeeded.length, codes.join()).toBeLessThanOrEqual(1);
      if (under().store.capabilities.conditionalPut)
        expect(codes.toSorted()).toEqual(['SEGMENT_CONFLICT', 'succeeded']);
      if (succeeded.length === 1) expect(await readSegment(log(), segment)).toBe(succeeded[0]);
      // When both were refused, a retry must succeed.
      if (succeeded.length === 0) await log().append(segment, segmentOf('one'));
    }
  });

  test('G4: a repeated append succeeds after a lost acknowledgment', async () => {
    for (const part of ['.zst', '.json']) {
      const segment = `lost${part}`;
      let lost = false;
      faulty().inject = ({ operation, name }) => {
        if (lost || operation !== 'put' || !name.endsWith(part)) return undefined;
        lost = true;
        return { type: 'lost acknowledgement' };
      };
      expect(await codeOf(log().append(segment, segmentOf('one')))).toBe('IO_ERROR');
      faulty().inject = () => undefined;
      await log().append(segment, segmentOf('one'));
      expect(await readSegment(log(), segment)).toBe('one');
    }
  });
}

function describeDamagedSegments({ under, faulty, repository }: Parts): void {
  const log = (): SegmentLog => repository().log(ref, 'wal');

  test('A9: detects a bit flipped on the way to the store before the segment is listed', async () => {
    faulty().inject = ({ operation, name }) =>
      operation === 'put' && name.endsWith('.zst') ? { type: 'flip', at: 3 } : undefined;
    expect(await codeOf(log().append('0001', segmentOf('one')))).toBe('IO_ERROR');
    faulty().inject = () => undefined;
    expect(await log().list()).toEqual([]);
  });

  test('B10: reading fails at the end for a damaged segment, and at the start for a damaged claim', async () => {
    await log().append('0001', segmentOf('one'));
    const names = await namesOf(under().store, LOG);
    for (const end of ['.zst', '.json']) {
      const name = names.find((each) => each.endsWith(end)) ?? '';
      await change(under().store, name, flipMiddle);
      expect(await codeOf(readSegment(log(), '0001'))).toBe('BACKUP_CORRUPT');
      await change(under().store, name, flipMiddle);
      expect(await readSegment(log(), '0001')).toBe('one');
    }
  });

  test('B11: reading reports missing data, and appending the same bytes stores it again', async () => {
    await log().append('0001', segmentOf('one'));
    const [data = ''] = (await namesOf(under().store, LOG)).filter((name) => name.endsWith('.zst'));
    await under().store.remove(data);
    expect(await codeOf(readSegment(log(), '0001'))).toBe('BACKUP_CORRUPT');
    await log().append('0001', segmentOf('one'));
    expect(await readSegment(log(), '0001')).toBe('one');
  });
}

function describeOldSegments({ under, faulty, repository }: Parts): void {
  const log = (): SegmentLog => repository().log(ref, 'wal');

  test('removes the segments before one, except those that `keep` accepts or a backup needs', async () => {
    for (const segment of ['0001.history', '0001', '0002', '0003'])
      await log().append(segment, segmentOf(`bytes of ${segment}`));
    const logRange = { stream: 'wal', from: '0002', to: '0003' };
    const backupId = await publish(repository(), { logRange });
    await publish(repository(), { logRange: { ...logRange, stream: 'other', from: '0001' } });
    expect(await codeOf(log().removeBefore('0003'))).toBe('BACKUP_NEEDED');
    const isHistory = (segment: string): boolean => segment.endsWith('.history');
    expect(await log().removeBefore('0002', isHistory)).toBe(1);
    expect(await log().list()).toEqual(['0001.history', '0002', '0003']);
    await repository().remove(ref, backupId, 0);
    expect(await log().removeBefore('0003', isHistory)).toBe(1);
    expect(await namesOf(under().store, LOG)).toHaveLength(4);
  });

  test('A16: sweeps unclaimed data older than the grace period, and no claimed data', async () => {
    await log().append('0001', segmentOf('one'));
    faulty().inject = ({ operation, name }) =>
      operation === 'put' && name.includes('0002.json') ? { type: 'fail' } : undefined;
    expect(await codeOf(log().append('0002', segmentOf('two')))).toBe('IO_ERROR');
    faulty().inject = () => undefined;
    expect(await namesOf(under().store, LOG)).toHaveLength(3);
    expect(await log().sweep(60_000)).toEqual([]);
    expect(await log().sweep(-60_000)).toEqual([expect.stringContaining('/0002-')]);
    expect(await namesOf(under().store, LOG)).toHaveLength(2);
    expect(await readSegment(log(), '0001')).toBe('one');
  });

  test('B13: refuses invalid segment names', async () => {
    for (const segment of ['', '../0001', 'a/b', '.hidden', 'a b'])
      expect(await codeOf(log().append(segment, segmentOf('x')))).toBe('BAD_INPUT');
    for (const id of ['', '..', 'A', 'a/b'])
      expect(await codeOf((async () => repository().log(ref, id))())).toBe('BAD_INPUT');
  });
}
