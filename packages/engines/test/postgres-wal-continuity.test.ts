import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type BackupSpan,
  findGaps,
  rangesOf,
  reachFrom,
  recoveryWindows,
  segmentsOnPath,
  type WalHoldings,
} from '../src/postgres/wal/continuity.ts';
import type { TimelineHistory } from '../src/postgres/wal/timeline-history.ts';

const SIZE = 2 ** 20;
const at = (segments: number): bigint => BigInt(Math.round(segments * SIZE));
const inSegments = (lsn: bigint): number => Math.round((Number(lsn) / SIZE) * 100) / 100;
type Segment = { timeline: number; number: number };
/** `1:3-5 2:6` */
const segmentsIn = (text: string): Segment[] =>
  text
    .split(' ')
    .filter(Boolean)
    .flatMap((part) => {
      const [timeline, span = ''] = part.split(':');
      const [first, last = first] = span.split('-').map(Number);
      return Array.from({ length: Number(last) - Number(first) + 1 }, (_, index) => ({
        timeline: Number(timeline),
        number: Number(first) + index,
      }));
    });
const holdings = (
  text: string,
  histories: Record<number, TimelineHistory> = {},
  partials: WalHoldings['partials'] = [],
): WalHoldings => ({
  segmentBytes: SIZE,
  ranges: rangesOf(segmentsIn(text)),
  partials,
  histories: new Map(Object.entries(histories).map(([timeline, history]) => [Number(timeline), history])),
});
const backup = (id: string, start: number, end: number, timeline = 1): BackupSpan => ({
  id,
  timeline,
  startLsn: at(start),
  endLsn: at(end),
});
const leftAt = (timeline: number, segments: number): TimelineHistory => [{ timeline, switchLsn: at(segments) }];
const windowsOf = (held: WalHoldings, ...backups: BackupSpan[]): string[] =>
  recoveryWindows(held, backups).map(
    ({ timeline, from, to, backups: ids }) => `${timeline}:${inSegments(from)}-${inSegments(to)} ${ids.join(',')}`,
  );
const gapsOf = (held: WalHoldings): string[] =>
  findGaps(held).map(({ timeline, first, last }) => `${timeline}:${first}-${last}`);

describe('gaps', () => {
  test.for([
    ['nothing', '', {}, []],
    ['one run of segments', '1:5-9', {}, []],
    ['G1: a missing segment', '1:5-9 1:11-12', {}, ['1:10-10']],
    ['several holes', '1:1 1:4-5 1:9', {}, ['1:2-3', '1:6-8']],
    ['a switch inside a segment that the new timeline has', '1:5-7 2:8-9', { 2: leftAt(1, 8.5) }, []],
    ['a switch at a boundary', '1:5-7 2:8-9', { 2: leftAt(1, 8) }, []],
    ['a missing end of the old timeline', '1:5-6 2:8-9', { 2: leftAt(1, 8.5) }, ['1:7-7']],
    ['a missing beginning of the new timeline', '1:5-7 2:9', { 2: leftAt(1, 8.5) }, ['2:8-8']],
    ['a hole across the switch', '1:5-6 2:10', { 2: leftAt(1, 8.5) }, ['1:7-7', '2:8-9']],
    [
      'a whole timeline that is missing',
      '1:5-7 3:12',
      { 3: [...leftAt(1, 8.5), { timeline: 2, switchLsn: at(10.5) }] },
      ['2:8-9', '3:10-11'],
    ],
    ['the tail of a timeline that was left, after its switch', '1:5-9 2:8-9', { 2: leftAt(1, 8.5) }, []],
    ['a hole in that tail', '1:5-8 1:10 2:8-9', { 2: leftAt(1, 8.5) }, ['1:9-9']],
    ['only the newest timeline is left', '2:8-9', { 2: leftAt(1, 8.5) }, []],
    ['a timeline without its history', '1:5-7 2:9-10 2:12', {}, ['2:11-11']],
  ] as const)('%s', ([, text, histories, expected], { expect }) => {
    expect(gapsOf(holdings(text, histories))).toEqual(expected);
  });
});

describe('recovery windows', () => {
  test.for([
    ['without WAL there is none', holdings(''), [backup('a', 5.1, 5.2)], []],
    ['the WAL of the backup alone', holdings('1:5'), [backup('a', 5.1, 5.2)], ['1:5.2-6 a']],
    ['a backup whose end is not held yet', holdings('1:5'), [backup('a', 5.1, 6.2)], []],
    ['a backup that ends at a boundary', holdings('1:5'), [backup('a', 5.1, 6)], ['1:6-6 a']],
    ['a backup before the oldest WAL', holdings('1:6-9'), [backup('a', 5.1, 5.2)], []],
    ['two backups share a window', holdings('1:5-9'), [backup('b', 7.1, 7.5), backup('a', 5.1, 5.2)], ['1:5.2-10 a,b']],
    [
      'G1: a gap splits it',
      holdings('1:5-6 1:8-9'),
      [backup('a', 5.1, 5.2), backup('b', 8.5, 8.75)],
      ['1:5.2-7 a', '1:8.75-10 b'],
    ],
    ['a gap that no backup follows', holdings('1:5-6 1:8-9'), [backup('a', 5.1, 5.2)], ['1:5.2-7 a']],
    [
      'a promotion',
      holdings('1:5-7 2:8-9', { 2: leftAt(1, 8.5) }),
      [backup('a', 5.1, 5.2)],
      ['1:5.2-8 a', '2:5.2-10 a'],
    ],
    [
      'a promotion whose old end is kept as partial',
      holdings('1:5-7 2:8-9', { 2: leftAt(1, 8.5) }, [{ timeline: 1, number: 8, endLsn: at(8.5) }]),
      [backup('a', 5.1, 5.2)],
      ['1:5.2-8.5 a', '2:5.2-10 a'],
    ],
    [
      'a split brain: both ends',
      holdings('1:5-11 2:8-9', { 2: leftAt(1, 8.5) }),
      [backup('a', 5.1, 5.2)],
      ['1:5.2-12 a', '2:5.2-10 a'],
    ],
    [
      'a backup of the tail is not on the new timeline',
      holdings('1:5-11 2:8-9', { 2: leftAt(1, 8.5) }),
      [backup('a', 9.1, 9.2)],
      ['1:9.2-12 a'],
    ],
    [
      'a backup of the new timeline',
      holdings('1:5-7 2:8-9', { 2: leftAt(1, 8.5) }),
      [backup('a', 8.75, 9.2, 2)],
      ['2:9.2-10 a'],
    ],
    [
      'timeline 11 over ten promotions',
      holdings('1:5 11:6-7', {
        11: Array.from({ length: 10 }, (_, index) => ({ timeline: index + 1, switchLsn: at(6 + index / 16) })),
      }),
      [backup('a', 5.1, 5.2)],
      ['1:5.2-6 a', '11:5.2-8 a'],
    ],
    [
      'a timeline without its history cannot be reached',
      holdings('1:5-7 2:8-9'),
      [backup('a', 5.1, 5.2)],
      ['1:5.2-8 a'],
    ],
  ] as const)('%s', ([, held, backups, expected], { expect }) => {
    expect(windowsOf(held, ...backups)).toEqual(expected);
  });
});

describe('the files of a recovery', () => {
  const held = holdings('1:5-8 2:8-9', { 2: leftAt(1, 8.5) }, [{ timeline: 1, number: 9, endLsn: at(9.5) }]);
  const names = (timeline: number, last: number): string[] | undefined =>
    segmentsOnPath(held, timeline, at(6.5), last)?.map(
      (each) => `${each.timeline}:${each.number}${each.isPartial ? 'p' : ''}`,
    );
  test('follow the path to the timeline', () => {
    expect(names(2, 9)).toEqual(['1:6', '1:7', '2:8', '2:9']);
    expect(names(1, 8)).toEqual(['1:6', '1:7', '1:8']);
  });
  test('end with the partial segment of a timeline that was left', () => {
    expect(names(1, 9)).toEqual(['1:6', '1:7', '1:8', '1:9p']);
  });
  test('are refused when one is missing', () => {
    expect([names(2, 10), names(1, 10), names(3, 9)]).toEqual([undefined, undefined, undefined]);
  });
});

/** A generated story: timelines that branch off each other, and what is held of them. */
const story = fc
  .record({
    branches: fc.array(
      fc.record({ parent: fc.nat(), at: fc.integer({ min: 1, max: 160 }), history: fc.integer({ min: 0, max: 9 }) }),
      { maxLength: 5 },
    ),
    length: fc.integer({ min: 2, max: 40 }),
    holes: fc.array(fc.record({ timeline: fc.nat(), number: fc.integer({ min: 0, max: 40 }) }), { maxLength: 12 }),
    backups: fc.array(
      fc.record({
        timeline: fc.nat(),
        start: fc.integer({ min: 4, max: 150 }),
        length: fc.integer({ min: 1, max: 12 }),
      }),
      { maxLength: 5 },
    ),
  })
  .map(({ branches, length, holes, backups }) => {
    const histories = new Map<number, TimelineHistory>([[1, []]]);
    for (const [index, branch] of branches.entries()) {
      const timeline = index + 2;
      const parent = 1 + (branch.parent % (timeline - 1));
      const before = histories.get(parent) ?? [];
      const least = before.at(-1)?.switchLsn ?? 0n;
      const switchLsn = at(branch.at / 4);
      histories.set(timeline, [...before, { timeline: parent, switchLsn: switchLsn < least ? least : switchLsn }]);
    }
    const segments: Segment[] = [];
    for (const [timeline, history] of histories) {
      const first = Number((history.at(-1)?.switchLsn ?? 0n) / BigInt(SIZE));
      for (let number = first; number < Math.max(length, first + 1); number += 1) segments.push({ timeline, number });
    }
    const isHole = ({ timeline, number }: Segment): boolean =>
      holes.some((hole) => 1 + (hole.timeline % histories.size) === timeline && hole.number === number);
    const kept = segments.filter((segment) => !isHole(segment));
    const spans = backups.flatMap((each, index) => {
      const timeline = 1 + (each.timeline % histories.size);
      const begin = histories.get(timeline)?.at(-1)?.switchLsn ?? 0n;
      const [startLsn, endLsn] = [at(each.start / 4) + 40n, at((each.start + each.length) / 4) + 80n];
      return startLsn < begin ? [] : [{ id: String(index), timeline, startLsn, endLsn }];
    });
    return {
      held: { segmentBytes: SIZE, ranges: rangesOf(kept), partials: [], histories } satisfies WalHoldings,
      kept,
      spans,
    };
  });

describe('generated histories', () => {
  /** Follows the way to a timeline segment by segment, as a recovery would. */
  const walk = (
    held: WalHoldings,
    has: (segment: Segment) => boolean,
    timeline: number,
    from: number,
  ): { missing: number; timeline: number } => {
    const history = held.histories.get(timeline) ?? [];
    for (let number = from; ; number += 1) {
      const step = history.find(({ switchLsn }) => BigInt(number) < switchLsn / BigInt(SIZE));
      const on = step?.timeline ?? timeline;
      if (!has({ timeline: on, number })) return { missing: number, timeline: on };
    }
  };
  test('reach and windows are those of a segment-by-segment walk', () => {
    fc.assert(
      fc.property(story, ({ held, kept, spans }) => {
        const set = new Set(kept.map(({ timeline, number }) => `${timeline}:${number}`));
        const has = ({ timeline, number }: Segment): boolean => set.has(`${timeline}:${number}`);
        const windows = recoveryWindows(held, spans);
        for (const timeline of held.histories.keys())
          for (const span of spans) {
            const from = Number(span.startLsn / BigInt(SIZE));
            const walked = walk(held, has, timeline, from);
            expect(reachFrom(held, timeline, span.startLsn)).toEqual(walked);
            const window = windows.find((each) => each.timeline === timeline && each.backups.includes(span.id));
            if (window === undefined) continue;
            expect(window.to).toBe(at(walked.missing));
            expect(window.from <= span.endLsn && span.endLsn <= window.to).toBe(true);
            expect(segmentsOnPath(held, timeline, span.startLsn, walked.missing - 1)).toHaveLength(
              walked.missing - from,
            );
            expect(segmentsOnPath(held, timeline, span.startLsn, walked.missing)).toBeNull();
          }
        // A backup whose own WAL is held opens a window on its own timeline.
        for (const span of spans) {
          const { missing, timeline } = walk(held, has, span.timeline, Number(span.startLsn / BigInt(SIZE)));
          const isWhole = timeline === span.timeline && at(missing) >= span.endLsn;
          expect(windows.some((each) => each.timeline === span.timeline && each.backups.includes(span.id))).toBe(
            isWhole,
          );
        }
      }),
      { numRuns: 3_000 },
    );
  });
  test('no window spans a gap, and every gap is missing', () => {
    fc.assert(
      fc.property(story, ({ held, kept, spans }) => {
        const set = new Set(kept.map(({ timeline, number }) => `${timeline}:${number}`));
        const gaps = findGaps(held);
        for (const gap of gaps)
          for (let number = gap.first; number <= gap.last; number += 1)
            expect(set.has(`${gap.timeline}:${number}`)).toBe(false);
        for (const window of recoveryWindows(held, spans)) {
          const steps = [
            ...(held.histories.get(window.timeline) ?? []).map(({ timeline }) => timeline),
            window.timeline,
          ];
          const starts = spans
            .filter(({ id }) => window.backups.includes(id))
            .map(({ startLsn }) => Number(startLsn / BigInt(SIZE)));
          const files =
            segmentsOnPath(held, window.timeline, at(Math.min(...starts)), Number(window.to / BigInt(SIZE)) - 1) ?? [];
          expect(files.length).toBeGreaterThan(0);
          for (const { timeline, number } of files) {
            expect(steps).toContain(timeline);
            expect(gaps.some((gap) => gap.timeline === timeline && gap.first <= number && number <= gap.last)).toBe(
              false,
            );
          }
        }
      }),
      { numRuns: 3_000 },
    );
  });
  test('a year of segments takes milliseconds', () => {
    const ranges = Array.from({ length: 50_000 }, (_, index) => ({
      timeline: 1,
      first: index * 12,
      last: index * 12 + 10,
    }));
    const backups = Array.from({ length: 365 }, (_, index) =>
      backup(String(index), index * 1_600 + 0.1, index * 1_600 + 0.2),
    );
    const started = performance.now();
    recoveryWindows({ segmentBytes: SIZE, ranges, partials: [], histories: new Map() }, backups);
    expect(performance.now() - started).toBeLessThan(500);
  });
});
