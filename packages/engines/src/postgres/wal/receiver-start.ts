import type { WalHoldings } from './continuity.ts';
import type { Lsn } from './lsn.ts';
import { segmentAt, segmentStart } from './segment-name.ts';
import type { SlotView } from './slot.ts';
import { pathTo, type TimelineHistory } from './timeline-history.ts';

/** Why a receiver does not start. */
export type ReceiverRefusal =
  /** The slot does not exist. */
  | 'slot-missing'
  /** `max_slot_wal_keep_size` is -1: a receiver that is away would fill the disk of the server. */
  | 'slot-uncapped'
  /** Another connection streams from the slot. */
  | 'slot-active'
  /** The server has removed WAL that the slot needs. */
  | 'slot-lost'
  /** The slot keeps no WAL. */
  | 'slot-empty'
  /** The stored WAL belongs to another cluster. */
  | 'other-system'
  /** The stored WAL goes beyond the end of the server's: the server was set back, or it is not the one that was promoted. */
  | 'server-behind'
  /** The server is on a timeline older than the stored WAL, or on an unrelated one. */
  | 'other-timeline';

export interface ServerPosition {
  readonly timeline: number;
  readonly flushLsn: Lsn;
  /** The history of that timeline. */
  readonly history: TimelineHistory;
}
/** What is stored already; `systemId` is null for an empty repository. */
export interface StoredWal {
  readonly systemId: string | null;
  readonly holdings: WalHoldings;
}
export type ReceiverStart =
  | { readonly kind: 'start'; readonly timeline: number; readonly lsn: Lsn }
  | { readonly kind: 'refused'; readonly code: ReceiverRefusal };

const refused = (code: ReceiverRefusal): ReceiverStart => ({ kind: 'refused', code });

/** The next segment that the way to the server's timeline needs; null when nothing of this way is stored. */
export function resumePoint(
  holdings: WalHoldings,
  { timeline, history }: ServerPosition,
): { readonly timeline: number; readonly number: number } | null {
  const path = pathTo(timeline, history, holdings.segmentBytes);
  for (const [index, step] of [...path.entries()].reverse()) {
    const stepLast = step.lastSegment ?? Number.POSITIVE_INFINITY;
    const ends = holdings.ranges
      .filter((range) => range.timeline === step.timeline && range.first <= stepLast && range.last >= step.firstSegment)
      .map((range) => Math.min(range.last, stepLast));
    if (ends.length === 0) continue;
    const number = Math.max(...ends) + 1;
    const next = path.slice(index).find(({ lastSegment }) => lastSegment === null || number <= lastSegment);
    return { timeline: next?.timeline ?? timeline, number };
  }
  return null;
}

/**
 * Decides where a receiver starts. It continues where the stored WAL ends, even when the server has to look it up in an older timeline;
 * whether the server still has it shows only at the start. With `afterGap` it starts where the slot does, and a gap stays.
 */
export function planReceiverStart(
  view: SlotView,
  server: ServerPosition,
  stored: StoredWal,
  afterGap: boolean,
): ReceiverStart {
  const { slot, segmentBytes } = view;
  if (stored.systemId !== null && stored.systemId !== view.systemId) return refused('other-system');
  if (view.slotLimitBytes === null) return refused('slot-uncapped');
  if (slot === null) return refused('slot-missing');
  if (slot.isActive) return refused('slot-active');
  if (slot.walStatus === 'lost') return refused('slot-lost');
  if (slot.restartLsn === null) return refused('slot-empty');
  const atSlot = segmentStart(segmentAt(slot.restartLsn, segmentBytes), segmentBytes);
  const fromSlot: ReceiverStart = { kind: 'start', timeline: timelineAt(atSlot, server, segmentBytes), lsn: atSlot };
  if (afterGap || stored.holdings.ranges.length === 0) return fromSlot;
  const resume = resumePoint(stored.holdings, server);
  const newest = Math.max(...stored.holdings.ranges.map(({ timeline }) => timeline));
  if (resume === null || newest > server.timeline) return refused('other-timeline');
  const lsn = segmentStart(resume.number, segmentBytes);
  if (lsn > server.flushLsn) return refused('server-behind');
  return { kind: 'start', timeline: resume.timeline, lsn };
}

const timelineAt = (lsn: Lsn, { timeline, history }: ServerPosition, segmentBytes: number): number => {
  const number = segmentAt(lsn, segmentBytes);
  const path = pathTo(timeline, history, segmentBytes);
  return path.find(({ lastSegment }) => lastSegment === null || number <= lastSegment)?.timeline ?? timeline;
};
