import { Bug } from '@lastgood/core';
import type { Lsn } from './lsn.ts';

/** How many bytes one WAL file holds: a power of two from 1 MiB to 1 GiB, fixed by initdb. */
export const isSegmentSize = (bytes: number): boolean =>
  Number.isInteger(Math.log2(bytes)) && bytes >= 2 ** 20 && bytes <= 2 ** 30;

/** The files that PostgreSQL archives. Segments are numbered from the beginning of the log, over all timelines. */
export type WalName =
  | { readonly kind: 'segment'; readonly timeline: number; readonly number: number }
  /** The last segment of a timeline that ended inside it. Recovery does not read it under this name. */
  | { readonly kind: 'partial'; readonly timeline: number; readonly number: number }
  | { readonly kind: 'history'; readonly timeline: number }
  | { readonly kind: 'backup-history'; readonly timeline: number; readonly number: number; readonly offset: number };

const HEX8 = '([0-9A-F]{8})';
const SEGMENT = new RegExp(`^${HEX8}${HEX8}${HEX8}(\\.partial|\\.${HEX8}\\.backup)?$`);
const HISTORY = new RegExp(`^${HEX8}\\.history$`);
const LOG_BYTES = 2 ** 32;
const hex8 = (value: number): string => value.toString(16).toUpperCase().padStart(8, '0');

/** The number of the segment that holds the byte at `lsn`. */
export const segmentAt = (lsn: Lsn, segmentBytes: number): number => Number(lsn / BigInt(segmentBytes));
export const segmentStart = (number: number, segmentBytes: number): Lsn => BigInt(number) * BigInt(segmentBytes);

/**
 * The last segment that a server with this end of WAL has touched. At a boundary nothing of the next segment exists yet: the end is
 * exclusive, unlike the argument of `pg_walfile_name`.
 */
export const segmentBefore = (end: Lsn, segmentBytes: number): number => segmentAt(end - 1n, segmentBytes);

export function segmentName(timeline: number, number: number, segmentBytes: number): string {
  if (!isSegmentSize(segmentBytes)) throw new Bug(`not a WAL segment size: ${segmentBytes}`);
  const perLog = LOG_BYTES / segmentBytes;
  return `${hex8(timeline)}${hex8(Math.floor(number / perLog))}${hex8(number % perLog)}`;
}
export const historyName = (timeline: number): string => `${hex8(timeline)}.history`;
export const partialName = (timeline: number, number: number, segmentBytes: number): string =>
  `${segmentName(timeline, number, segmentBytes)}.partial`;

/** Reads the name of a file of the archive; null for every other name, also for a segment that cannot exist at this size. */
export function parseWalName(name: string, segmentBytes: number): WalName | null {
  const history = HISTORY.exec(name);
  if (history?.[1] !== undefined) return { kind: 'history', timeline: Number.parseInt(history[1], 16) };
  const [, timelineHex, log, segment, suffix, offset] = SEGMENT.exec(name) ?? [];
  if (timelineHex === undefined || log === undefined || segment === undefined) return null;
  const timeline = Number.parseInt(timelineHex, 16);
  const perLog = LOG_BYTES / segmentBytes;
  const inLog = Number.parseInt(segment, 16);
  if (timeline === 0 || inLog >= perLog) return null;
  const number = Number.parseInt(log, 16) * perLog + inLog;
  if (suffix === '.partial') return { kind: 'partial', timeline, number };
  if (offset !== undefined) return { kind: 'backup-history', timeline, number, offset: Number.parseInt(offset, 16) };
  return { kind: 'segment', timeline, number };
}
