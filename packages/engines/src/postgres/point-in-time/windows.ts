import type { EngineContext, RecoverySource } from '@lastgood/core';
import type { RecoveryWindow } from '@lastgood/protocol';
import { recoveryWindows } from '../wal/continuity.ts';
import { formatInstant, type Micros } from '../wal/instant.ts';
import { type Lsn, maxLsn } from '../wal/lsn.ts';
import { storedEnd } from '../wal/stream-judgment.ts';
import { filesFrom, type Observed, readCluster } from './point-of-request.ts';

/** A commit gets its time a moment before its position. */
const MARGIN: Micros = 1_000_000n;
const MAX_BACKUPS = 50;
const MAX_WINDOWS = 100;

/**
 * The ranges of instants that a restore reaches on the newest timeline, oldest first. A window ends just before the last stored commit:
 * only a later commit shows that everything up to an instant is there, or the comparison with the server (`observed`). `newestBackup` is
 * the position where the newest backup begins.
 */
export async function readRecoveryWindows(
  source: RecoverySource,
  observed: Observed,
  { signal }: Pick<EngineContext, 'signal'>,
): Promise<{ readonly windows: readonly RecoveryWindow[]; readonly newestBackup: Lsn }> {
  const cluster = await readCluster(source, null, signal);
  if (cluster === null) return { windows: [], newestBackup: 0n };
  const { stored, backups } = cluster;
  const timeline = Math.max(1, ...stored.holdings.ranges.map((range) => range.timeline));
  const end = storedEnd(stored.holdings, timeline);
  const windows: RecoveryWindow[] = [];
  for (const window of recoveryWindows(stored.holdings, backups).filter((each) => each.timeline === timeline)) {
    const own = window.backups.flatMap((id) => backups.find((backup) => backup.id === id) ?? []);
    const [oldest, newest] = [own[0], own.at(-1)];
    if (oldest === undefined || newest === undefined) continue;
    const files = filesFrom(newest, timeline, stored) ?? [];
    const contents = await stored.contentsFromEnd(files, ({ latestXactAt }) => latestXactAt !== null);
    const latest = [...contents.values()].findLast(({ latestXactAt }) => latestXactAt !== null)?.latestXactAt ?? null;
    const isOpen = window.to === end;
    const idleUntil = isOpen && observed !== null && observed.lsn <= window.to ? observed.at - MARGIN : 0n;
    const known = latest === null ? 0n : latest - 1n;
    const to = idleUntil > known ? idleUntil : known;
    // A window that has just opened grows with the stream.
    if (to <= oldest.finishedAt && !isOpen) continue;
    windows.push({
      from: formatInstant(oldest.finishedAt),
      to: formatInstant(to > oldest.finishedAt ? to : oldest.finishedAt),
      isOpen,
      branch: String(timeline),
      backups: window.backups.slice(-MAX_BACKUPS),
    });
  }
  return {
    windows: windows.sort((a, b) => (a.to < b.to ? -1 : 1)).slice(-MAX_WINDOWS),
    newestBackup: backups.reduce((newest, { startLsn }) => maxLsn(newest, startLsn), 0n),
  };
}
