import { findGaps, type WalHoldings } from './continuity.ts';
import type { Micros } from './instant.ts';
import { type Lsn, maxLsn } from './lsn.ts';
import { segmentAt, segmentStart } from './segment-name.ts';
import type { ServerWalView } from './server-view.ts';
import { pathTo } from './timeline-history.ts';

/** How WAL gets from the server to the repository. */
export type StreamMethod =
  | { readonly kind: 'receiver'; readonly slot: string; readonly applicationName: string }
  | { readonly kind: 'archive' };

/** What is wrong with a stream of WAL. */
export type StreamFinding =
  | { readonly code: 'wal-gap'; readonly timeline: number; readonly from: Lsn; readonly to: Lsn }
  /** The server is another cluster than the one whose WAL is stored. */
  | { readonly code: 'wal-other-system'; readonly systemId: string }
  | { readonly code: 'wal-archiving-off' }
  /** `archive_command` fails. */
  | { readonly code: 'wal-archive-failing'; readonly failures: number; readonly name: string | null }
  /** Files have been waiting for `archive_command` for too long. */
  | { readonly code: 'wal-archive-stalled'; readonly waiting: number; readonly since: Micros }
  /** The server reports segments as archived that the repository does not have: they went somewhere else. */
  | { readonly code: 'wal-archived-elsewhere'; readonly missingFrom: Lsn; readonly since: Micros }
  | { readonly code: 'wal-slot-missing' }
  | { readonly code: 'wal-slot-uncapped' }
  | { readonly code: 'wal-slot-lost' }
  /** Little is left until the server removes WAL that the slot needs. */
  | { readonly code: 'wal-slot-at-risk'; readonly safeBytes: number }
  /** Nobody streams from the slot. */
  | { readonly code: 'wal-receiver-absent'; readonly since: Micros }
  /** The server writes, and what is stored does not follow. */
  | { readonly code: 'wal-receiver-stalled'; readonly behindBytes: bigint; readonly since: Micros };

export interface StreamThresholds {
  readonly waitingMicros: Micros;
  readonly stallMicros: Micros;
}
export const DEFAULT_THRESHOLDS: StreamThresholds = { waitingMicros: 60_000_000n, stallMicros: 30_000_000n };

/** What is remembered from one comparison to the next. Plain data. */
export interface StreamMemory {
  /** Ends of WAL at the server that are not stored yet, with the time when they were first seen; oldest first. */
  readonly unstored: readonly { readonly lsn: Lsn; readonly at: Micros }[];
  readonly serverLsn: Lsn;
  readonly storedLsn: Lsn;
  readonly storedMovedAt: Micros;
  readonly failedCount: number;
  readonly statsReset: string | null;
  readonly missingSince: Micros | null;
  readonly absentSince: Micros | null;
}
export interface StreamStatus {
  /** `idle`: nothing was written since the last comparison, and every complete segment is stored. */
  readonly state: 'current' | 'idle' | 'stalled';
  readonly serverLsn: Lsn;
  /** The end of what is stored on the server's timeline; null when nothing is. */
  readonly storedLsn: Lsn | null;
  /** Since when there has been WAL at the server that is not stored: the exposure. Null when all is stored. */
  readonly unstoredSince: Micros | null;
}
export interface StreamJudgment {
  readonly status: StreamStatus;
  readonly findings: readonly StreamFinding[];
  readonly memory: StreamMemory;
}
/** More observations than this are thinned out; the oldest is kept. */
const REMEMBERED = 1_000;

/** The end of what is stored on the way to the server's timeline; null when nothing of it is. */
export function storedEnd(holdings: WalHoldings, timeline: number): Lsn | null {
  const path = pathTo(timeline, holdings.histories.get(timeline) ?? [], holdings.segmentBytes);
  for (const step of path.toReversed()) {
    const ends = holdings.ranges
      .filter((range) => range.timeline === step.timeline && range.last >= step.firstSegment)
      .map(({ last }) => Math.min(last, step.lastSegment ?? last));
    if (ends.length > 0) return segmentStart(Math.max(...ends) + 1, holdings.segmentBytes);
  }
  return null;
}

/**
 * Compares the server's account of its WAL with what is stored. `streamedLsn` is what the receiver has made durable beyond complete
 * segments (its spool), null for an archive. An idle server is not stalled.
 */
export function judgeStream(
  method: StreamMethod,
  view: ServerWalView,
  stored: { readonly systemId: string | null; readonly holdings: WalHoldings; readonly streamedLsn: Lsn | null },
  before: StreamMemory | null,
  thresholds: StreamThresholds = DEFAULT_THRESHOLDS,
): StreamJudgment {
  const end = storedEnd(stored.holdings, view.timeline);
  const safe = maxLsn(end ?? 0n, stored.streamedLsn ?? 0n);
  const memory = remember(view, safe, before);
  const findings: StreamFinding[] = findGaps(stored.holdings).map(({ timeline, from, to }) => ({
    code: 'wal-gap',
    timeline,
    from,
    to,
  }));
  if (stored.systemId !== null && stored.systemId !== view.systemId)
    findings.push({ code: 'wal-other-system', systemId: view.systemId });
  // Of an unfinished segment nothing is archived yet: it does not count as behind.
  const complete = segmentStart(segmentAt(view.flushLsn, view.segmentBytes), view.segmentBytes);
  const due = method.kind === 'receiver' ? view.flushLsn : complete;
  const judged =
    method.kind === 'receiver'
      ? judgeReceiver(method, view, memory, due, safe, thresholds)
      : judgeArchive(view, memory, due, safe, before, thresholds);
  findings.push(...judged.findings);
  const isStalled = judged.findings.some(({ code }) => STALLS.has(code));
  const isIdle = before !== null && before.serverLsn === view.flushLsn && safe >= complete;
  return {
    status: {
      state: isStalled ? 'stalled' : isIdle ? 'idle' : 'current',
      serverLsn: view.flushLsn,
      storedLsn: end,
      unstoredSince: memory.unstored[0]?.at ?? null,
    },
    findings,
    memory: judged.memory,
  };
}
const STALLS = new Set<StreamFinding['code']>([
  'wal-archive-stalled',
  'wal-archived-elsewhere',
  'wal-receiver-absent',
  'wal-receiver-stalled',
  'wal-slot-lost',
  'wal-slot-missing',
]);

function remember(view: ServerWalView, safe: Lsn, before: StreamMemory | null): StreamMemory {
  const waiting = (before?.unstored ?? []).filter(({ lsn }) => lsn > safe);
  const isNew = view.flushLsn > safe && view.flushLsn > (waiting.at(-1)?.lsn ?? 0n);
  const unstored = isNew ? [...waiting, { lsn: view.flushLsn, at: view.at }] : waiting;
  return {
    unstored: unstored.length > REMEMBERED ? unstored.filter((_, index) => index % 2 === 0) : unstored,
    serverLsn: view.flushLsn,
    storedLsn: safe,
    storedMovedAt: before === null || safe > before.storedLsn ? view.at : before.storedMovedAt,
    failedCount: view.archiver.failedCount,
    statsReset: view.archiver.statsReset,
    missingSince: before?.missingSince ?? null,
    absentSince: before?.absentSince ?? null,
  };
}

interface Judged {
  readonly findings: readonly StreamFinding[];
  readonly memory: StreamMemory;
}

function judgeReceiver(
  { slot: name, applicationName }: Extract<StreamMethod, { kind: 'receiver' }>,
  view: ServerWalView,
  memory: StreamMemory,
  due: Lsn,
  safe: Lsn,
  { stallMicros, waitingMicros }: StreamThresholds,
): Judged {
  const findings: StreamFinding[] = [];
  if (view.slotLimitBytes === null) findings.push({ code: 'wal-slot-uncapped' });
  const slot = view.slots.find((each) => each.name === name);
  if (slot === undefined) findings.push({ code: 'wal-slot-missing' });
  else if (slot.walStatus === 'lost') findings.push({ code: 'wal-slot-lost' });
  else if (slot.safeWalBytes !== null && slot.safeWalBytes < 2 * view.segmentBytes)
    findings.push({ code: 'wal-slot-at-risk', safeBytes: slot.safeWalBytes });
  const isPresent =
    view.senders.some((sender) => sender.applicationName === applicationName) && slot?.isActive === true;
  const absentSince = isPresent ? null : (memory.absentSince ?? view.at);
  if (absentSince !== null && view.at - absentSince >= stallMicros)
    findings.push({ code: 'wal-receiver-absent', since: absentSince });
  const oldest = memory.unstored[0];
  const isMoving = view.at - memory.storedMovedAt < stallMicros;
  // A segment that fills slowly is stored late, and that is not a stall: only more than one that waits is.
  const behindBytes = due - safe;
  const isBehind = behindBytes > BigInt(view.segmentBytes);
  if (oldest !== undefined && isBehind && !isMoving && view.at - oldest.at >= waitingMicros / 2n)
    findings.push({ code: 'wal-receiver-stalled', behindBytes, since: oldest.at });
  return { findings, memory: { ...memory, absentSince } };
}

function judgeArchive(
  view: ServerWalView,
  memory: StreamMemory,
  due: Lsn,
  safe: Lsn,
  before: StreamMemory | null,
  { waitingMicros }: StreamThresholds,
): Judged {
  const findings: StreamFinding[] = [];
  const { archiver, at } = view;
  if (!archiver.isOn) findings.push({ code: 'wal-archiving-off' });
  const isSameCount = before !== null && before.statsReset === archiver.statsReset;
  const failures = isSameCount ? archiver.failedCount - before.failedCount : 0;
  if (failures > 0) findings.push({ code: 'wal-archive-failing', failures, name: archiver.lastFailedName });
  const { ready } = archiver;
  if (ready !== null && ready.oldestAt !== null && at - ready.oldestAt >= waitingMicros)
    findings.push({ code: 'wal-archive-stalled', waiting: ready.count, since: ready.oldestAt });
  // The server is done with segments that are not here. They may be on their way for a moment.
  const isMissing = due > safe && ready?.count === 0;
  const missingSince = isMissing ? (memory.missingSince ?? at) : null;
  if (missingSince !== null && at - missingSince >= waitingMicros)
    findings.push({ code: 'wal-archived-elsewhere', missingFrom: safe, since: missingSince });
  return { findings, memory: { ...memory, missingSince } };
}
