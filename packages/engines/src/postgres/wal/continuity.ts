import type { Lsn } from './lsn.ts';
import { segmentAt, segmentBefore, segmentStart } from './segment-name.ts';
import { isAncestor, type PathStep, pathTo, type TimelineHistory } from './timeline-history.ts';

/** Complete segments of one timeline without a hole, both ends included. */
export interface SegmentRange {
  readonly timeline: number;
  readonly first: number;
  readonly last: number;
}
/** The unfinished last segment of a timeline that was left, and where its records end. */
export interface PartialSegment {
  readonly timeline: number;
  readonly number: number;
  readonly endLsn: Lsn;
}
/** What a repository holds of the WAL of one cluster. */
export interface WalHoldings {
  readonly segmentBytes: number;
  /** From `rangesOf`. */
  readonly ranges: readonly SegmentRange[];
  readonly partials: readonly PartialSegment[];
  readonly histories: ReadonlyMap<number, TimelineHistory>;
}
export interface BackupSpan {
  readonly id: string;
  readonly timeline: number;
  readonly startLsn: Lsn;
  readonly endLsn: Lsn;
}

/** Joins ranges that touch or overlap, sorted by timeline and number. */
export function mergeRanges(ranges: Iterable<SegmentRange>): SegmentRange[] {
  const sorted = [...ranges].sort((a, b) => a.timeline - b.timeline || a.first - b.first);
  const merged: { timeline: number; first: number; last: number }[] = [];
  for (const { timeline, first, last } of sorted) {
    const range = merged.at(-1);
    if (range !== undefined && range.timeline === timeline && first <= range.last + 1)
      range.last = Math.max(range.last, last);
    else merged.push({ timeline, first, last });
  }
  return merged;
}

/** Joins segments to ranges. They may come in any order and more than once. */
export const rangesOf = (segments: Iterable<{ readonly timeline: number; readonly number: number }>): SegmentRange[] =>
  mergeRanges([...segments].map(({ timeline, number }) => ({ timeline, first: number, last: number })));

/** The holdings with their ranges by timeline, for fast look-ups. */
class Index {
  readonly holdings: WalHoldings;
  readonly #byTimeline = new Map<number, SegmentRange[]>();

  constructor(holdings: WalHoldings) {
    this.holdings = holdings;
    for (const range of holdings.ranges) {
      const ranges = this.#byTimeline.get(range.timeline);
      if (ranges === undefined) this.#byTimeline.set(range.timeline, [range]);
      else ranges.push(range);
    }
  }
  get timelines(): number[] {
    return [...this.#byTimeline.keys()].sort((a, b) => a - b);
  }
  ranges(timeline: number): readonly SegmentRange[] {
    return this.#byTimeline.get(timeline) ?? [];
  }
  /** The range that holds a segment. */
  at(timeline: number, number: number): SegmentRange | undefined {
    const ranges = this.ranges(timeline);
    let [low, high] = [0, ranges.length - 1];
    while (low <= high) {
      const middle = (low + high) >> 1;
      const range = ranges[middle];
      if (range === undefined || number < range.first) high = middle - 1;
      else if (number > range.last) low = middle + 1;
      else return range;
    }
    return undefined;
  }
  /** Null when the history of the timeline is not held: then nothing before it can be read. */
  path(timeline: number): readonly PathStep[] | null {
    const { histories, segmentBytes } = this.holdings;
    const history = histories.get(timeline);
    if (history === undefined && timeline > 1) return null;
    return pathTo(timeline, history ?? [], segmentBytes);
  }
}

/** Where a contiguous reading from one segment on ends: the first segment that is missing, and the timeline that should have it. */
export interface Reach {
  readonly missing: number;
  readonly timeline: number;
}

function reach(index: Index, path: readonly PathStep[], from: number): Reach {
  let next = from;
  let timeline = path.at(-1)?.timeline ?? 1;
  for (const step of path) {
    if (step.lastSegment !== null && next > step.lastSegment) continue;
    timeline = step.timeline;
    const range = index.at(step.timeline, next);
    if (range === undefined) break;
    const end = Math.min(range.last, step.lastSegment ?? Number.POSITIVE_INFINITY);
    next = end + 1;
    if (end !== step.lastSegment) break;
  }
  return { missing: next, timeline };
}

/** How far WAL can be read without a hole on the way to a timeline; null when the history of the timeline is missing. */
export function reachFrom(holdings: WalHoldings, timeline: number, from: Lsn): Reach | null {
  const index = new Index(holdings);
  const path = index.path(timeline);
  return path === null ? null : reach(index, path, segmentAt(from, holdings.segmentBytes));
}

/** True when the way to a timeline goes on behind a segment with something that is held. */
export function isHeldAfter(holdings: WalHoldings, timeline: number, number: number): boolean {
  const index = new Index(holdings);
  return (index.path(timeline) ?? []).some((step) =>
    index
      .ranges(step.timeline)
      .some(
        ({ first, last }) =>
          Math.min(last, step.lastSegment ?? last) > number &&
          first <= (step.lastSegment ?? last) &&
          last >= step.firstSegment,
      ),
  );
}

/** Missing segments between segments that are held. */
export interface WalGap {
  readonly timeline: number;
  readonly first: number;
  readonly last: number;
  readonly from: Lsn;
  /** Exclusive. */
  readonly to: Lsn;
}

/** Every hole on the way to each timeline that is held. What lies before the oldest segment was removed by retention: no gap. */
export function findGaps(holdings: WalHoldings): readonly WalGap[] {
  const index = new Index(holdings);
  const gaps = new Map<string, WalGap>();
  for (const timeline of index.timelines)
    for (const gap of gapsOnPath(index, index.path(timeline) ?? [loneStep(timeline)]))
      gaps.set(`${gap.timeline}/${gap.first}`, gap);
  return [...gaps.values()].sort((a, b) => a.timeline - b.timeline || a.first - b.first);
}
const loneStep = (timeline: number): PathStep => ({ timeline, firstSegment: 0, lastSegment: null, from: 0n, to: null });

function* gapsOnPath(index: Index, path: readonly PathStep[]): Generator<WalGap> {
  const { segmentBytes } = index.holdings;
  // The first missing segment after what was seen; null before anything was seen.
  let next: number | null = null;
  const pending: WalGap[] = [];
  const missing = (timeline: number, first: number, last: number): void => {
    if (first > last) return;
    pending.push({
      timeline,
      first,
      last,
      from: segmentStart(first, segmentBytes),
      to: segmentStart(last + 1, segmentBytes),
    });
  };
  for (const step of path) {
    const stepLast = step.lastSegment ?? Number.POSITIVE_INFINITY;
    for (const range of index.ranges(step.timeline)) {
      const first = Math.max(range.first, step.firstSegment);
      const last = Math.min(range.last, stepLast);
      if (first > last) continue;
      if (next !== null) missing(step.timeline, Math.max(next, step.firstSegment), first - 1);
      next = last + 1;
      // A hole is a gap only when something follows it.
      yield* pending.splice(0);
    }
    if (next !== null && step.lastSegment !== null) {
      missing(step.timeline, Math.max(next, step.firstSegment), step.lastSegment);
      next = Math.max(next, step.lastSegment + 1);
    }
  }
}

/** Positions that can be restored: every end between `from` and `to` on the way to this timeline. */
export interface RecoveryWindow {
  readonly timeline: number;
  /** The end of the oldest backup: earlier positions are not consistent. */
  readonly from: Lsn;
  /** The end of the WAL that is held without a hole. */
  readonly to: Lsn;
  /** The backups from which it can be reached, oldest first. */
  readonly backups: readonly string[];
}

/** The recovery windows of all backups. A backup whose own WAL is incomplete opens none. A gap splits a window. */
export function recoveryWindows(holdings: WalHoldings, backups: readonly BackupSpan[]): readonly RecoveryWindow[] {
  const index = new Index(holdings);
  const windows = new Map<string, { timeline: number; from: Lsn; to: Lsn; backups: string[] }>();
  const paths = new Map(index.timelines.map((timeline) => [timeline, index.path(timeline)]));
  for (const backup of [...backups].sort((a, b) => (a.endLsn < b.endLsn ? -1 : a.endLsn > b.endLsn ? 1 : 0)))
    for (const [timeline, path] of paths) {
      const to = path === null ? null : windowEnd(index, path, backup);
      if (to === null) continue;
      const key = `${timeline}/${to}`;
      const window = windows.get(key);
      if (window === undefined) windows.set(key, { timeline, from: backup.endLsn, to, backups: [backup.id] });
      else window.backups.push(backup.id);
    }
  return [...windows.values()].sort((a, b) => a.timeline - b.timeline || (a.from < b.from ? -1 : 1));
}

/** How far one backup reaches on the way to a timeline; null when it does not get onto it, or when its own WAL is incomplete. */
function windowEnd(index: Index, path: readonly PathStep[], backup: BackupSpan): Lsn | null {
  const { segmentBytes, histories, partials } = index.holdings;
  const own = path.at(-1);
  if (own === undefined) return null;
  const history = histories.get(own.timeline) ?? [];
  if (!isAncestor(backup.timeline, backup.endLsn, own.timeline, history)) return null;
  const { missing, timeline } = reach(index, path, segmentAt(backup.startLsn, segmentBytes));
  if (timeline !== own.timeline) return null;
  const partial = partials.find((each) => each.timeline === timeline && each.number === missing);
  const to = partial === undefined ? segmentStart(missing, segmentBytes) : partial.endLsn;
  if (partial === undefined && missing <= segmentBefore(backup.endLsn, segmentBytes)) return null;
  // Nothing was read of the timeline itself: its window is that of its parent.
  if (missing <= own.firstSegment && own.timeline !== backup.timeline && partial === undefined) return null;
  return to < backup.endLsn ? null : to;
}

/** One file of the WAL that a recovery reads. */
export interface PathSegment {
  readonly timeline: number;
  readonly number: number;
  readonly isPartial: boolean;
}

/** The files from one position to the last segment, in the order of replay; null when one of them is missing. */
export function segmentsOnPath(
  holdings: WalHoldings,
  timeline: number,
  from: Lsn,
  last: number,
): readonly PathSegment[] | null {
  const index = new Index(holdings);
  const path = index.path(timeline);
  if (path === null) return null;
  const segments: PathSegment[] = [];
  for (let number = segmentAt(from, holdings.segmentBytes); number <= last; number += 1) {
    const step = path.find(({ lastSegment }) => lastSegment === null || number <= lastSegment);
    if (step === undefined) return null;
    const isPartial = index.at(step.timeline, number) === undefined;
    const isHeld =
      !isPartial || holdings.partials.some((each) => each.timeline === step.timeline && each.number === number);
    // A partial segment is the end of its timeline: nothing can be read behind it.
    if (!isHeld || (isPartial && (number !== last || step.timeline !== timeline))) return null;
    segments.push({ timeline: step.timeline, number, isPartial });
  }
  return segments;
}
