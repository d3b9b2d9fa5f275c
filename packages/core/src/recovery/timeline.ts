import type { RecoveryWindow, StreamReport } from '@lastgood/protocol';

/** What is known of one backup of a target. */
export interface TimelineBackup {
  readonly backupId: string;
  readonly atMs: number;
  readonly isGood: boolean;
  /** A later restore from it is possible on its own; a base of a log stream is also the begin of a window. */
  readonly method: string;
}

export interface TimelineFacts {
  readonly fromMs: number;
  readonly nowMs: number;
  readonly windows: readonly RecoveryWindow[];
  readonly stream: StreamReport | null;
  readonly backups: readonly TimelineBackup[];
  /** Since when the host does not report; null while it does. */
  readonly silentSinceMs: number | null;
}

/**
 * One part of a timeline. `window`: every instant can be restored · `backups`: only the recovery points of backups · `gap`: between two
 * windows, so the log is missing · `exposed`: written after the newest recovery point, would be lost now · `unknown`: the host does
 * not report · `none`: before the first recovery point.
 */
export interface TimelineSpan {
  readonly kind: 'window' | 'backups' | 'gap' | 'exposed' | 'unknown' | 'none';
  readonly fromMs: number;
  readonly toMs: number;
}

interface Range {
  readonly fromMs: number;
  readonly toMs: number;
}

/** The windows as ranges without overlap, oldest first. An open one reaches as far as the stream has stored. */
function mergedWindows({ windows, stream }: TimelineFacts): Range[] {
  const ranges = windows
    .map(({ from, to, isOpen }) => {
      const stored = isOpen && stream?.storedUntil != null ? Date.parse(stream.storedUntil) : Number.NEGATIVE_INFINITY;
      return { fromMs: Date.parse(from), toMs: Math.max(Date.parse(to), stored) };
    })
    .sort((a, b) => a.fromMs - b.fromMs);
  const merged: Range[] = [];
  for (const range of ranges) {
    const last = merged.at(-1);
    if (last !== undefined && range.fromMs <= last.toMs)
      merged[merged.length - 1] = { fromMs: last.fromMs, toMs: Math.max(last.toMs, range.toMs) };
    else merged.push(range);
  }
  return merged;
}

/** Cuts a span to the shown range; undefined when nothing of it is left. */
function cut(span: TimelineSpan, fromMs: number, toMs: number): TimelineSpan | undefined {
  const cutSpan = { ...span, fromMs: Math.max(span.fromMs, fromMs), toMs: Math.min(span.toMs, toMs) };
  return cutSpan.toMs > cutSpan.fromMs ? cutSpan : undefined;
}

/**
 * What can be restored from `fromMs` to now, as spans without gaps or overlap. What is not known is a span of its own: from the last
 * report of the host on, no earlier state is continued.
 */
export function timelineSpans(facts: TimelineFacts): TimelineSpan[] {
  const { fromMs, nowMs, backups, silentSinceMs } = facts;
  const knownTo = Math.min(nowMs, silentSinceMs ?? nowMs);
  const windows = mergedWindows(facts);
  const points = backups.filter(({ isGood }) => isGood).map(({ atMs }) => atMs);
  const first = Math.min(...points, ...windows.map((window) => window.fromMs), knownTo);
  const last = Math.max(...points, ...windows.map((window) => window.toMs), first);
  const spans: TimelineSpan[] = [];
  let reached = fromMs;
  const add = (kind: TimelineSpan['kind'], toMs: number): void => {
    const span = cut({ kind, fromMs: reached, toMs }, fromMs, knownTo);
    if (span !== undefined) spans.push(span);
    reached = Math.max(reached, toMs);
  };
  add('none', first);
  windows.forEach((window, index) => {
    add(index === 0 ? 'backups' : 'gap', window.fromMs);
    add('window', window.toMs);
  });
  add('backups', last);
  add(first === knownTo ? 'none' : 'exposed', knownTo);
  if (nowMs > knownTo) spans.push({ kind: 'unknown', fromMs: Math.max(knownTo, fromMs), toMs: nowMs });
  return spans;
}

/** The newest instant that can be restored; null when there is none. */
export function newestPoint(facts: TimelineFacts): number | null {
  const points = facts.backups.filter(({ isGood }) => isGood).map(({ atMs }) => atMs);
  const all = [...points, ...mergedWindows(facts).map(({ toMs }) => toMs)];
  return all.length === 0 ? null : Math.max(...all);
}

/** What a restore to an instant brings back. */
export type PointAnswer =
  /** Exactly this instant, from a window of the log stream. */
  | { readonly kind: 'exact' }
  /** The newest backup at or before it; data written since is not in it. */
  | { readonly kind: 'backup'; readonly backup: TimelineBackup }
  | { readonly kind: 'none' }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'future' };

export function answerAt(facts: TimelineFacts, atMs: number): PointAnswer {
  if (atMs > facts.nowMs) return { kind: 'future' };
  if (mergedWindows(facts).some(({ fromMs, toMs }) => fromMs <= atMs && atMs <= toMs)) return { kind: 'exact' };
  if (facts.silentSinceMs !== null && atMs > facts.silentSinceMs) return { kind: 'unknown' };
  const backup = facts.backups
    .filter((each) => each.isGood && each.atMs <= atMs)
    .reduce<TimelineBackup | null>((best, each) => (best === null || each.atMs > best.atMs ? each : best), null);
  return backup === null ? { kind: 'none' } : { kind: 'backup', backup };
}
