import { Failure } from '@lastgood/core';
import { isLsn, type Lsn, parseLsn } from './lsn.ts';
import { segmentAt } from './segment-name.ts';

/** One line of a history file: this timeline was left at `switchLsn`. */
export interface TimelineSwitch {
  readonly timeline: number;
  readonly switchLsn: Lsn;
}
/** The ancestors of a timeline, oldest first; empty for timeline 1. */
export type TimelineHistory = readonly TimelineSwitch[];

const corrupt = (what: string): Failure => new Failure('BACKUP_CORRUPT', `a timeline history is damaged: ${what}`);

/** Reads a `.history` file. Throws BACKUP_CORRUPT. */
export function parseTimelineHistory(text: string, timeline: number): TimelineHistory {
  const switches: TimelineSwitch[] = [];
  for (const line of text.split('\n')) {
    if (/^\s*(?:#.*)?$/.test(line)) continue;
    const [, id, lsn] = /^\s*(\d+)\s+(\S+)/.exec(line) ?? [];
    if (id === undefined || lsn === undefined || !isLsn(lsn)) throw corrupt('a line cannot be read');
    const last = switches.at(-1);
    const next = { timeline: Number(id), switchLsn: parseLsn(lsn) };
    if (last !== undefined && (next.timeline <= last.timeline || next.switchLsn < last.switchLsn))
      throw corrupt('its lines are out of order');
    switches.push(next);
  }
  const parent = switches.at(-1);
  if (parent === undefined || parent.timeline >= timeline) throw corrupt('it is not older than its timeline');
  return switches;
}

/** A stretch of the way to a timeline. `to` is exclusive, null on the timeline itself. */
export interface PathStep {
  readonly timeline: number;
  /** The first segment that is read from this timeline. */
  readonly firstSegment: number;
  /** The last one; null on the timeline itself, which has no known end. */
  readonly lastSegment: number | null;
  readonly from: Lsn;
  readonly to: Lsn | null;
}

/**
 * From which timeline each segment is read on the way to `timeline`. The segment with a switch is read from the newer timeline: a
 * promotion copies the beginning of it.
 */
export function pathTo(timeline: number, history: TimelineHistory, segmentBytes: number): readonly PathStep[] {
  const steps: PathStep[] = [];
  let from: Lsn = 0n;
  let firstSegment = 0;
  for (const { timeline: parent, switchLsn } of history) {
    const next = segmentAt(switchLsn, segmentBytes);
    steps.push({ timeline: parent, firstSegment, lastSegment: next - 1, from, to: switchLsn });
    from = switchLsn;
    firstSegment = next;
  }
  steps.push({ timeline, firstSegment, lastSegment: null, from, to: null });
  return steps;
}

/** True when a server that was at `lsn` on `ancestor` can follow to the timeline with this history. */
export function isAncestor(ancestor: number, lsn: Lsn, timeline: number, history: TimelineHistory): boolean {
  if (ancestor === timeline) return lsn >= (history.at(-1)?.switchLsn ?? 0n);
  const index = history.findIndex((each) => each.timeline === ancestor);
  const left = history[index];
  return left !== undefined && lsn <= left.switchLsn && lsn >= (history[index - 1]?.switchLsn ?? 0n);
}
