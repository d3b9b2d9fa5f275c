import type { RecoveryWindow, StreamReport } from '@lastgood/protocol';

/** What a target reports of its log stream and of the instants that can be restored. */
export interface ReportedWindows {
  readonly windows?: readonly RecoveryWindow[] | undefined;
  readonly stream?: StreamReport | undefined;
}

/** The end of a window: an open one reaches as far as the stream has stored since it was computed. */
function endOf({ to, isOpen }: RecoveryWindow, stream: StreamReport | undefined): number {
  const stored = isOpen && stream?.storedUntil != null ? Date.parse(stream.storedUntil) : Number.NEGATIVE_INFINITY;
  return Math.max(Date.parse(to), stored);
}

/** The window that contains an instant; null when none does. Both ends belong to a window. */
export function windowAt({ windows, stream }: ReportedWindows, atMs: number): RecoveryWindow | null {
  return windows?.findLast((window) => Date.parse(window.from) <= atMs && atMs <= endOf(window, stream)) ?? null;
}

/** The newest instant that backups and log stream together bring back, with the backup that a restore starts from; null without a window. */
export function newestInstant({
  windows,
  stream,
}: ReportedWindows): { readonly atMs: number; readonly backupId: string } | null {
  let newest: { atMs: number; backupId: string } | null = null;
  for (const window of windows ?? []) {
    const backupId = window.backups.at(-1);
    const atMs = endOf(window, stream);
    if (backupId !== undefined && (newest === null || atMs > newest.atMs)) newest = { atMs, backupId };
  }
  return newest;
}

/** The state of a stream for the status of its target: a gap counts until a later backup has opened a window behind it. */
export function streamStateOf({ windows, stream }: ReportedWindows): 'running' | 'stopped' | 'gap' | null {
  if (stream === undefined) return null;
  if (stream.state === 'stopped' || stream.state === 'stalled') return 'stopped';
  return stream.gaps.length > 0 && windows?.some(({ isOpen }) => isOpen) !== true ? 'gap' : 'running';
}

/** The newest instant that can be brought back: of the newest good backup, or of the log stream when that is later. */
export function newestRecoveryPoint(
  lastGood: { readonly recoveryPoint: string; readonly backupId: string } | null,
  reported: ReportedWindows,
): { readonly atMs: number; readonly from: 'backup' | 'stream'; readonly backupId: string } | null {
  const ofStream = newestInstant(reported);
  const ofBackup = lastGood === null ? null : Date.parse(lastGood.recoveryPoint);
  if (ofStream !== null && (ofBackup === null || ofStream.atMs > ofBackup)) return { ...ofStream, from: 'stream' };
  return lastGood === null || ofBackup === null
    ? null
    : { atMs: ofBackup, from: 'backup', backupId: lastGood.backupId };
}
