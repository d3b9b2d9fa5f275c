import { describe, expect, test } from 'vitest';
import { planRecovery } from '../src/postgres/point-in-time/plan.ts';
import {
  type BackupRecord,
  contentKey,
  type RecoverySource,
  type RecoveryTarget,
  type StoredContent,
} from '../src/postgres/point-in-time/target.ts';
import { type PartialSegment, rangesOf } from '../src/postgres/wal/continuity.ts';
import type { Micros } from '../src/postgres/wal/instant.ts';
import type { TimelineHistory } from '../src/postgres/wal/timeline-history.ts';

const SIZE = 2 ** 20;
const at = (segments: number): bigint => BigInt(Math.round(segments * SIZE));
/** Minutes after noon. */
const minute = (minutes: number): Micros => 1_800_000_000_000_000n + BigInt(Math.round(minutes * 60_000_000));

/**
 * Segment n holds transactions of minute n to n.9, and its last record begins at its 0.9. The backup `a` is in segment 5, `b` in 8.
 */
function sourceOf(
  segments: string,
  changes: {
    backups?: BackupRecord[];
    histories?: Record<number, TimelineHistory>;
    partials?: PartialSegment[];
    points?: [number, string][];
    idle?: number[];
    observed?: RecoverySource['observed'];
  } = {},
): RecoverySource {
  const list = segments
    .split(' ')
    .filter(Boolean)
    .map((part) => {
      const [timeline, number] = part.split(':').map(Number);
      return { timeline: timeline ?? 0, number: number ?? 0 };
    });
  const contents = new Map<string, StoredContent>();
  const partials = changes.partials ?? [];
  for (const { timeline, number, isPartial } of [
    ...list.map((each) => ({ ...each, isPartial: false })),
    ...partials.map((each) => ({ ...each, isPartial: true })),
  ])
    contents.set(contentKey({ timeline, number, isPartial }), {
      latestXactAt: changes.idle?.includes(number) === true ? null : minute(number + 0.9),
      restorePoints: (changes.points ?? [])
        .filter(([where]) => Math.floor(where) === number)
        .map(([where, name]) => ({ name, lsn: at(where), at: minute(where) })),
      lastRecordLsn: at(number + (isPartial ? 0.4 : 0.9)),
      endLsn: at(number + (isPartial ? 0.5 : 1)),
    });
  return {
    holdings: {
      segmentBytes: SIZE,
      ranges: rangesOf(list),
      partials,
      histories: new Map(Object.entries(changes.histories ?? {}).map(([key, value]) => [Number(key), value])),
    },
    backups: changes.backups ?? [a, b],
    contents,
    observed: changes.observed ?? null,
    now: minute(60),
  };
}
const backup = (id: string, segment: number, timeline = 1): BackupRecord => ({
  id,
  timeline,
  startLsn: at(segment + 0.1),
  endLsn: at(segment + 0.2),
  finishedAt: minute(segment + 0.2),
});
const a = backup('a', 5);
const b = backup('b', 8);
/** A plan in one line, or the refusal. */
function shortly(target: RecoveryTarget, source: RecoverySource, timeline: number | null = null): string {
  const plan = planRecovery(target, timeline, source);
  if (plan.kind === 'refusal') return plan.code;
  const files = plan.files.map((file) => `${file.timeline}:${file.number}${file.isPartial ? 'p' : ''}`);
  return `${plan.backupId} on ${plan.timeline} reads ${files[0]}..${files.at(-1)} stops ${plan.stop.kind}${plan.endsAtGap ? ' before a gap' : ''}`;
}
const WHOLE = '1:4 1:5 1:6 1:7 1:8 1:9';
const HOLE = '1:4 1:5 1:6 1:8 1:9';
const time = (minutes: number): RecoveryTarget => ({ kind: 'time', at: minute(minutes) });

describe('a time', () => {
  test.for([
    ['after the first backup', WHOLE, 6.5, 'a on 1 reads 1:5..1:7 stops time'],
    ['of the last transaction of a segment: the next one decides', WHOLE, 6.9, 'a on 1 reads 1:5..1:8 stops time'],
    ['after the second backup: the newest backup before it', WHOLE, 8.5, 'b on 1 reads 1:8..1:9 stops time'],
    ['G9: before the end of the first backup', WHOLE, 5.1, 'before-first-point'],
    ['exactly at its end', WHOLE, 5.2, 'a on 1 reads 1:5..1:6 stops time'],
    ['G9: after the last transaction that is stored', WHOLE, 9.9, 'not-archived'],
    ['in the future', WHOLE, 61, 'in-future'],
    ['G1: behind a gap, where no backup is yet', HOLE, 7.5, 'in-gap'],
    ['G1: just before a gap', HOLE, 6.8, 'a on 1 reads 1:5..1:6 stops time'],
    ['after a gap and the next backup', HOLE, 8.5, 'b on 1 reads 1:8..1:9 stops time'],
  ] as const)('%s', ([, segments, minutes, expected], { expect }) => {
    expect(shortly(time(minutes), sourceOf(segments))).toBe(expected);
  });
  test('a refusal contains what can be reached', () => {
    expect(planRecovery(time(7.5), null, sourceOf(HOLE))).toMatchObject({
      code: 'in-gap',
      lastAt: minute(6.9),
      nextAt: minute(8.2),
      missingFrom: at(7),
    });
    expect(planRecovery(time(1), null, sourceOf(WHOLE))).toMatchObject({
      code: 'before-first-point',
      firstAt: minute(5.2),
      firstLsn: at(5.2),
    });
    expect(planRecovery(time(30), null, sourceOf(WHOLE))).toMatchObject({
      code: 'not-archived',
      lastAt: minute(9.9),
      storedTo: at(10),
    });
  });
  test('on an idle server, until it was last seen without new WAL', () => {
    const idle = sourceOf(WHOLE, { observed: { at: minute(20), lsn: at(10) } });
    expect(shortly(time(19), idle)).toBe('b on 1 reads 1:8..1:9 stops end');
    expect(planRecovery(time(19), null, idle)).toMatchObject({
      reachesAt: minute(19),
      stop: { lastRecordLsn: at(9.9) },
      fromLsn: at(9.9),
      endLsn: at(10),
    });
    expect(shortly(time(20), idle)).toBe('not-archived');
    expect(shortly(time(19), sourceOf(WHOLE, { observed: { at: minute(20), lsn: at(10.1) } }))).toBe('not-archived');
  });
  test('segments without transactions are passed over', () => {
    expect(shortly(time(5.95), sourceOf(WHOLE, { idle: [6, 7] }))).toBe('a on 1 reads 1:5..1:9 stops time');
  });
});

describe('other targets', () => {
  const lsn = (segments: number): RecoveryTarget => ({ kind: 'lsn', lsn: at(segments) });
  test.for([
    ['a position', lsn(6.5), WHOLE, 'a on 1 reads 1:5..1:7 stops before-lsn'],
    ['a position behind the last record of its segment', lsn(6.95), WHOLE, 'a on 1 reads 1:5..1:8 stops before-lsn'],
    ['the very end of what is stored', lsn(10), WHOLE, 'b on 1 reads 1:8..1:9 stops end'],
    ['a position beyond it', lsn(10.5), WHOLE, 'not-archived'],
    ['a position before the end of the backup', lsn(5.1), WHOLE, 'before-first-point'],
    ['a position in a gap', lsn(7.5), HOLE, 'in-gap'],
    [
      'a transaction',
      { kind: 'transaction', xid: '731', lsn: at(6.5) },
      WHOLE,
      'a on 1 reads 1:5..1:7 stops transaction',
    ],
    [
      'a transaction before every backup',
      { kind: 'transaction', xid: '731', lsn: at(4.5) },
      WHOLE,
      'before-first-point',
    ],
    ['the latest state', { kind: 'latest' }, WHOLE, 'b on 1 reads 1:8..1:9 stops end'],
    [
      'the latest state with a gap behind the only backup',
      { kind: 'latest' },
      '1:5 1:6 1:9',
      'a on 1 reads 1:5..1:6 stops end before a gap',
    ],
    ['a backup alone', { kind: 'backup', id: 'a' }, WHOLE, 'a on 1 reads 1:5..1:5 stops immediate'],
    ['a backup that does not exist', { kind: 'backup', id: 'z' }, WHOLE, 'no-backup'],
    ['a backup without its WAL', { kind: 'backup', id: 'b' }, '1:4 1:5', 'in-gap'],
  ] as const)('%s', ([, target, segments, expected], { expect }) => {
    expect(shortly(target, sourceOf(segments))).toBe(expected);
  });
  test('without WAL there is nothing to choose from', () => {
    expect(shortly({ kind: 'latest' }, sourceOf(''))).toBe('no-backup');
    expect(shortly({ kind: 'latest' }, sourceOf(WHOLE, { backups: [] }))).toBe('no-backup');
  });

  const name: RecoveryTarget = { kind: 'name', name: 'before' };
  test('a named point', () => {
    expect(
      shortly(
        name,
        sourceOf(WHOLE, {
          points: [
            [6.5, 'before'],
            [7.5, 'other'],
          ],
        }),
      ),
    ).toBe('a on 1 reads 1:5..1:7 stops name');
    expect(shortly(name, sourceOf(WHOLE, { points: [[6.5, 'other']] }))).toBe('unknown-name');
    expect(shortly(name, sourceOf(WHOLE, { points: [[4.5, 'before']] }))).toBe('unknown-name');
  });
  test('a name that was given twice is refused with both places', () => {
    const source = sourceOf(WHOLE, {
      points: [
        [6.5, 'before'],
        [9.5, 'before'],
      ],
    });
    expect(planRecovery(name, null, source)).toMatchObject({
      code: 'ambiguous-name',
      points: [{ lsn: at(6.5) }, { lsn: at(9.5) }],
    });
  });
});

describe('timelines', () => {
  const histories = { 2: [{ timeline: 1, switchLsn: at(7.5) }] };
  const BOTH = '1:5 1:6 1:7 1:8 2:7 2:8 2:9';
  const only = { histories, backups: [a] };
  test('the newest is followed', () => {
    expect(shortly(time(8.5), sourceOf(BOTH, only))).toBe('a on 2 reads 1:5..2:9 stops time');
    expect(shortly({ kind: 'latest' }, sourceOf(BOTH, only))).toBe('a on 2 reads 1:5..2:9 stops end');
  });
  test('an older one can be chosen, up to its own end', () => {
    expect(shortly({ kind: 'latest' }, sourceOf(BOTH, only), 1)).toBe('a on 1 reads 1:5..1:8 stops end');
  });
  test('the unfinished end of the old timeline is read as well', () => {
    const partials = [{ timeline: 1, number: 7, endLsn: at(7.5) }];
    const source = sourceOf('1:5 1:6 2:7 2:8', { ...only, partials });
    expect(shortly({ kind: 'latest' }, source, 1)).toBe('a on 1 reads 1:5..1:7p stops end');
    expect(planRecovery({ kind: 'latest' }, 1, source)).toMatchObject({
      endLsn: at(7.5),
      stop: { lastRecordLsn: at(7.4) },
    });
    expect(shortly({ kind: 'latest' }, source)).toBe('a on 2 reads 1:5..2:8 stops end');
  });
  test('one that is not stored, or without history, is refused', () => {
    expect(shortly({ kind: 'latest' }, sourceOf(BOTH, only), 7)).toBe('unknown-timeline');
    expect(shortly({ kind: 'latest' }, sourceOf(BOTH, { backups: [a] }))).toBe('unknown-timeline');
  });
  test('a backup of the abandoned end of the old timeline does not lead to the new one', () => {
    expect(shortly({ kind: 'latest' }, sourceOf(BOTH, { histories, backups: [b] }))).toBe('no-backup');
    expect(shortly({ kind: 'latest' }, sourceOf(BOTH, { histories, backups: [b] }), 1)).toBe(
      'b on 1 reads 1:8..1:8 stops end',
    );
  });
});
