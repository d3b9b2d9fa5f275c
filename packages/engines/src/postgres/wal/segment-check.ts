import type { Lsn } from './lsn.ts';

/** Of the header of a WAL page. */
export const SHORT_HEADER = 24;
export const LONG_HEADER = 40;
const LONG_FLAG = 0x0002;

/** XLOG_PAGE_MAGIC of each major version. */
const MAGIC: Readonly<Record<number, number>> = {
  13: 0xd106,
  14: 0xd10d,
  15: 0xd110,
  16: 0xd113,
  17: 0xd116,
  18: 0xd118,
};

export interface PageHeader {
  readonly magic: number;
  readonly info: number;
  readonly timeline: number;
  readonly address: Lsn;
  /** Bytes of a record that began on an earlier page. */
  readonly remaining: number;
}
export const readPageHeader = (page: Buffer): PageHeader => ({
  magic: page.readUInt16LE(0),
  info: page.readUInt16LE(2),
  timeline: page.readUInt32LE(4),
  address: page.readBigUInt64LE(8),
  remaining: page.readUInt32LE(16),
});

/** What a segment must be. */
export interface SegmentExpectation {
  readonly startLsn: Lsn;
  readonly timeline: number;
  readonly segmentBytes: number;
  readonly systemId: string;
  /** Null when the major version is not known; versions that are newer than this list are not compared. */
  readonly majorVersion: number | null;
}
export interface SegmentProblem {
  readonly code:
    | 'wal-size'
    | 'wal-magic'
    | 'wal-system'
    | 'wal-timeline'
    | 'wal-address'
    | 'wal-segment-size'
    | 'wal-page';
  readonly expected: string;
  readonly found: string;
}

const problem = (code: SegmentProblem['code'], expected: unknown, found: unknown): SegmentProblem => ({
  code,
  expected: String(expected),
  found: String(found),
});
const hex = (value: number): string => `0x${value.toString(16)}`;

/** Checks the long header at the beginning of a segment: is this WAL of the right server, place and version? Null when it is. */
export function checkFirstPage(page: Buffer, expected: SegmentExpectation): SegmentProblem | null {
  if (page.length < LONG_HEADER) return problem('wal-size', expected.segmentBytes, page.length);
  const header = readPageHeader(page);
  const magic = expected.majorVersion === null ? undefined : MAGIC[expected.majorVersion];
  const isMagic = magic === undefined ? (header.magic & 0xff00) === 0xd100 : header.magic === magic;
  if (!isMagic || (header.info & LONG_FLAG) === 0)
    return problem('wal-magic', magic === undefined ? '0xd1..' : hex(magic), hex(header.magic));
  const systemId = page.readBigUInt64LE(24).toString();
  if (systemId !== expected.systemId) return problem('wal-system', expected.systemId, systemId);
  const segmentBytes = page.readUInt32LE(32);
  if (segmentBytes !== expected.segmentBytes) return problem('wal-segment-size', expected.segmentBytes, segmentBytes);
  if (header.address !== expected.startLsn) return problem('wal-address', expected.startLsn, header.address);
  // The first segment of a timeline begins with a copy of its parent.
  if (header.timeline > expected.timeline || header.timeline === 0)
    return problem('wal-timeline', expected.timeline, header.timeline);
  return null;
}

/** The size of WAL pages, from the long header. */
export const walPageBytes = (firstPage: Buffer): number => firstPage.readUInt32LE(36);
