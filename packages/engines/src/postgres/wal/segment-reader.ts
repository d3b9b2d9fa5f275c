import { fromPostgresTime, type Micros } from './instant.ts';
import type { Lsn } from './lsn.ts';
import { LONG_HEADER, readPageHeader, SHORT_HEADER } from './segment-check.ts';

/** Page flags. */
const CONTINUES = 0x0001;
const IS_LONG = 0x0002;
const OVERWRITES = 0x0008;
const RECORD_HEADER = 24;
/** Enough of a record for the time of a transaction and the name of a restore point. */
const PREFIX = 128;
/** Resource managers, and the records that are read. */
const RM_XLOG = 0;
const RM_XACT = 1;
const XLOG_SWITCH = 0x40;
const XLOG_RESTORE_POINT = 0x70;
/** Commit, abort, and both of prepared transactions: where a recovery target is compared. */
const XACT_ENDS = new Set([0x00, 0x20, 0x30, 0x40]);
const XACT_COMMITS = new Set([0x00, 0x30]);
const XACT_MASK = 0x70;
/** Identifiers that precede the main data of a record. */
const ID_DATA_SHORT = 0xff;
const ID_DATA_LONG = 0xfe;
const ID_ORIGIN = 0xfd;
const ID_TOPLEVEL_XID = 0xfc;
const ALIGN = 8;

export interface RestorePoint {
  readonly name: string;
  readonly lsn: Lsn;
  readonly at: Micros;
}
/** What a segment holds for the choice of recovery targets. */
export interface SegmentContent {
  /** Null when no transaction ended in it. A commit may be logged a little after its time, so times are not monotonic. */
  readonly earliestXactAt: Micros | null;
  readonly latestXactAt: Micros | null;
  readonly commits: number;
  readonly restorePoints: readonly RestorePoint[];
  /** Where the last record begins that ends in this segment; null when there is none. */
  readonly lastRecordLsn: Lsn | null;
  /** Where the next record would begin. */
  readonly endLsn: Lsn;
  /** Where the commit of the wanted transaction begins; null when it is not here or none was wanted. */
  readonly wantedLsn: Lsn | null;
  /** The record that goes on in the next segment, for its reader; null when there is none. */
  readonly openRecord: OpenRecord | null;
}
export interface OpenRecord {
  readonly lsn: Lsn;
  readonly prefix: Buffer;
}

/** Where a record begins: an offset in this segment, or the position of one that began before it. */
type Place = number | Lsn;

interface Record {
  readonly lsn: Lsn;
  readonly length: number;
  readonly prefix: Buffer;
  prefixBytes: number;
  left: number;
}

/**
 * Reads the records of one segment, page by page, and keeps what recovery targets are chosen by. The layout is the same from PostgreSQL
 * 9.5 to 18. It does not check the CRC of records: bytes are checked by SHA-256, and replay checks the rest.
 */
export class SegmentReader {
  readonly #startLsn: Lsn;
  readonly #pageBytes: number;
  /** Offsets in the segment: numbers, because there are some 200,000 records in one. */
  #pageAt = 0;
  #record: Record | null = null;
  /** Bytes of a record whose beginning is not known. */
  #unknown = 0;
  #isFirst = true;
  #stop: 'switch' | 'unwritten' | null = null;
  #earliest: Micros | null = null;
  #latest: Micros | null = null;
  #commits = 0;
  readonly #restorePoints: RestorePoint[] = [];
  #lastRecord: Place | null = null;
  #end = 0;
  readonly #previous: OpenRecord | null;

  readonly #wantedXid: number | null;
  #wanted: Place | null = null;

  /** `previous` is the open record of the segment before, when that one was read. `wantedXid` is a transaction to look for. */
  constructor(startLsn: Lsn, pageBytes: number, previous: OpenRecord | null, wantedXid: string | null = null) {
    // Transactions in the WAL have 32 bits; functions of PostgreSQL may show 64.
    this.#wantedXid = wantedXid === null ? null : Number(BigInt.asUintN(32, BigInt(wantedXid)));
    this.#startLsn = startLsn;
    this.#pageBytes = pageBytes;
    this.#previous = previous;
  }

  /** Reads whole pages, up to the end of the WAL. */
  push(pages: Buffer): void {
    for (let at = 0; at + this.#pageBytes <= pages.length && this.#stop === null; at += this.#pageBytes) {
      this.#page(pages.subarray(at, at + this.#pageBytes));
      this.#pageAt += this.#pageBytes;
    }
  }

  /** Why the records ended before the segment did: the server switched to the next one, or the rest was not written. */
  get stop(): 'switch' | 'unwritten' | null {
    return this.#stop;
  }

  content(): SegmentContent {
    const open = this.#record;
    return {
      earliestXactAt: this.#earliest,
      latestXactAt: this.#latest,
      commits: this.#commits,
      restorePoints: this.#restorePoints,
      lastRecordLsn: this.#lastRecord === null ? null : this.#lsnAt(this.#lastRecord),
      endLsn: this.#lsnAt(this.#end),
      wantedLsn: this.#wanted === null ? null : this.#lsnAt(this.#wanted),
      openRecord: open === null ? null : { lsn: open.lsn, prefix: open.prefix.subarray(0, open.prefixBytes) },
    };
  }

  #lsnAt(place: Place): Lsn {
    return typeof place === 'bigint' ? place : this.#startLsn + BigInt(place);
  }

  #page(page: Buffer): void {
    const header = readPageHeader(page);
    // A page that was not written yet, or one of a recycled file.
    if (header.address !== this.#lsnAt(this.#pageAt) || (header.magic & 0xff00) !== 0xd100) {
      this.#stop = 'unwritten';
      return;
    }
    if ((header.info & OVERWRITES) !== 0) this.#record = null;
    if (this.#isFirst && (header.info & CONTINUES) !== 0) this.#continueFrom(header.remaining);
    this.#isFirst = false;
    let at = (header.info & IS_LONG) === 0 ? SHORT_HEADER : LONG_HEADER;
    while (at < page.length && this.#stop === null) at = this.#step(page, at);
  }

  /** The segment begins inside a record. */
  #continueFrom(remaining: number): void {
    const open = this.#previous;
    if (open === null || open.prefix.length < 4) {
      this.#unknown = remaining;
      return;
    }
    const prefix = Buffer.alloc(PREFIX);
    open.prefix.copy(prefix);
    this.#record = {
      lsn: open.lsn,
      length: open.prefix.readUInt32LE(0),
      prefix,
      prefixBytes: open.prefix.length,
      left: remaining,
    };
  }

  /** Reads one piece of a page and returns where the next begins. */
  #step(page: Buffer, at: number): number {
    if (this.#unknown > 0) {
      const skipped = Math.min(this.#unknown, page.length - at);
      this.#unknown -= skipped;
      return this.#unknown === 0 ? this.#finish(at + skipped) : page.length;
    }
    const length = this.#record === null ? page.readUInt32LE(at) : 0;
    // Most records lie within a page: nothing is copied.
    if (length >= RECORD_HEADER && at + length <= page.length) {
      this.#lastRecord = this.#pageAt + at;
      if ((page[at + 17] ?? 0) <= RM_XACT)
        this.#read(page.subarray(at, at + Math.min(length, PREFIX)), this.#lastRecord);
      return this.#finish(at + length);
    }
    const record = this.#record ?? this.#begin(length, at);
    if (record === null) return page.length;
    const taken = Math.min(record.left, page.length - at);
    if (record.prefixBytes < PREFIX)
      record.prefixBytes += page.copy(
        record.prefix,
        record.prefixBytes,
        at,
        at + Math.min(taken, PREFIX - record.prefixBytes),
      );
    record.left -= taken;
    if (record.left > 0) return page.length;
    this.#record = null;
    this.#lastRecord = record.lsn;
    this.#read(record.prefix, record.lsn);
    return this.#finish(at + taken);
  }

  /** Notes the end of a record, which is the aligned beginning of the next, and returns it. */
  #finish(at: number): number {
    // Pages begin at multiples of the alignment.
    const next = Math.ceil(at / ALIGN) * ALIGN;
    this.#end = this.#pageAt + next;
    return next;
  }

  #begin(length: number, at: number): Record | null {
    if (length < RECORD_HEADER) {
      this.#stop = 'unwritten';
      return null;
    }
    this.#record = {
      lsn: this.#lsnAt(this.#pageAt + at),
      length,
      prefix: Buffer.alloc(Math.min(PREFIX, length)),
      prefixBytes: 0,
      left: length,
    };
    return this.#record;
  }

  #read(prefix: Buffer, place: Place): void {
    const [info, manager] = [prefix.readUInt8(16), prefix.readUInt8(17)];
    if (manager === RM_XLOG && (info & 0xf0) === XLOG_SWITCH) this.#stop = 'switch';
    if (manager === RM_XLOG && (info & 0xf0) === XLOG_RESTORE_POINT) {
      const data = mainData(prefix);
      if (data === null || data.length < 9) return;
      const end = data.indexOf(0, 8);
      const name = data.toString('utf8', 8, end < 0 ? data.length : end);
      this.#restorePoints.push({ name, lsn: this.#lsnAt(place), at: fromPostgresTime(data.readBigInt64LE(0)) });
    }
    if (manager !== RM_XACT || !XACT_ENDS.has(info & XACT_MASK)) return;
    const data = mainData(prefix);
    if (data === null || data.length < 8) return;
    const at = fromPostgresTime(data.readBigInt64LE(0));
    if (XACT_COMMITS.has(info & XACT_MASK)) {
      this.#commits += 1;
      if (prefix.readUInt32LE(4) === this.#wantedXid) this.#wanted ??= place;
    }
    if (this.#earliest === null || at < this.#earliest) this.#earliest = at;
    if (this.#latest === null || at > this.#latest) this.#latest = at;
  }
}

/** The main data of a record without block references, as far as the prefix holds it. */
function mainData(prefix: Buffer): Buffer | null {
  for (let at = RECORD_HEADER; at < prefix.length; )
    switch (prefix[at]) {
      case ID_DATA_SHORT:
        return prefix.subarray(at + 2, at + 2 + (prefix[at + 1] ?? 0));
      case ID_DATA_LONG:
        return at + 5 > prefix.length ? null : prefix.subarray(at + 5, at + 5 + prefix.readUInt32LE(at + 1));
      case ID_ORIGIN:
        at += 3;
        break;
      case ID_TOPLEVEL_XID:
        at += 5;
        break;
      default:
        return null;
    }
  return null;
}
