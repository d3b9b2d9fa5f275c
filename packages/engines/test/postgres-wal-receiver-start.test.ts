import { describe, test } from 'vitest';
import { rangesOf } from '../src/postgres/wal/continuity.ts';
import type { Lsn } from '../src/postgres/wal/lsn.ts';
import { planReceiverStart, type ServerPosition, type StoredWal } from '../src/postgres/wal/receiver-start.ts';
import type { SlotView } from '../src/postgres/wal/slot.ts';

const MIB = 2 ** 20;

describe('where a receiver starts', () => {
  const at = (segments: number): Lsn => BigInt(Math.round(segments * MIB));
  const slot = { name: 's', isActive: false, restartLsn: at(7.5), walStatus: 'reserved', safeWalBytes: 1 } as const;
  const view: SlotView = { systemId: 'a', segmentBytes: MIB, majorVersion: 15, slotLimitBytes: 1, slot };
  const one: ServerPosition = { timeline: 1, flushLsn: at(9.5), history: [] };
  const two: ServerPosition = { timeline: 2, flushLsn: at(9.5), history: [{ timeline: 1, switchLsn: at(8.5) }] };
  const stored = (...segments: [number, number][]): StoredWal => ({
    systemId: segments.length === 0 ? null : 'a',
    holdings: {
      segmentBytes: MIB,
      ranges: rangesOf(segments.map(([timeline, number]) => ({ timeline, number }))),
      partials: [],
      histories: new Map(),
    },
  });
  const start = (timeline: number, segment: number) => ({ kind: 'start', timeline, lsn: at(segment) });
  test.for([
    ['an empty repository: at the segment of the slot', view, one, stored(), false, start(1, 7)],
    [
      'an empty repository after a promotion',
      { ...view, slot: { ...slot, restartLsn: at(8.7) } },
      two,
      stored(),
      false,
      start(2, 8),
    ],
    ['where the stored WAL ends', view, one, stored([1, 4], [1, 5]), false, start(1, 6)],
    ['where it ends, although the slot is behind', view, one, stored([1, 8]), false, start(1, 9)],
    ['after a hole in what is stored: at its end', view, one, stored([1, 4], [1, 8]), false, start(1, 9)],
    ['after a gap: at the slot', view, one, stored([1, 4]), true, start(1, 7)],
    ['on the old timeline, up to the promotion', view, two, stored([1, 6]), false, start(1, 7)],
    ['with the old timeline complete: on the new one', view, two, stored([1, 7]), false, start(2, 8)],
    [
      'with more of the old timeline than the promotion took: on the new one',
      view,
      two,
      stored([1, 7], [1, 8], [1, 9]),
      false,
      start(2, 8),
    ],
    ['on the new timeline', view, two, stored([1, 7], [2, 8]), false, start(2, 9)],
    ['from an old primary', view, one, stored([1, 7], [2, 8]), false, { kind: 'refused', code: 'other-timeline' }],
    [
      'from an unrelated timeline',
      view,
      { ...two, timeline: 3, history: [{ timeline: 2, switchLsn: at(1) }] },
      stored([1, 7]),
      false,
      { kind: 'refused', code: 'other-timeline' },
    ],
    [
      'from a server that was set back',
      view,
      { ...one, flushLsn: at(5) },
      stored([1, 8]),
      false,
      { kind: 'refused', code: 'server-behind' },
    ],
    ['at the very end of an idle server', view, { ...one, flushLsn: at(9) }, stored([1, 8]), false, start(1, 9)],
  ] as const)('%s', ([, slotView, position, wal, afterGap, expected], { expect }) => {
    expect(planReceiverStart(slotView, position, wal, afterGap)).toEqual(expected);
  });
});
