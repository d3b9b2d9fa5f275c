import type { Readable } from 'node:stream';
import { Bug } from '@lastgood/core';
import { Crc64 } from './crc64.ts';
import { MoreBytesNeeded, NotUnderstood, RdbCursor } from './rdb-cursor.ts';
import {
  layoutOf,
  MODULE_OPCODE,
  moduleTypeName,
  NEWEST_KNOWN_VERSION,
  OPCODE,
  type Part,
  type RdbMagic,
} from './rdb-format.ts';
import { RdbCounter, type RdbReport } from './rdb-report.ts';

const HEADER_BYTES = 9;
const CHECKSUM_BYTES = 8;
/** Files of earlier versions end without a checksum. */
const CHECKSUMS_SINCE = 5;
const HEADER = /^(?:REDIS(?=\d{4})|VALKEY(?=\d{3}))/;

/** Values within values: `left` groups of `parts` are still to come, of the present one from `part` on. */
interface Frame {
  readonly parts: readonly Part[];
  part: number;
  left: number;
}

type Phase = 'header' | 'opcode' | 'value' | 'footer' | 'end' | 'opaque' | 'foreign';

/**
 * Follows an RDB file while its bytes pass, in bounded memory: counts keys by database and type, and computes the checksum. Values are
 * skipped, never decoded or kept. What it does not understand ends the counting and never the checksum, so that a file of a newer
 * version is still checked to its end.
 */
export class RdbWalker {
  readonly #onTrailing: (bytes: Buffer) => void;
  readonly #crc = new Crc64();
  readonly #counter = new RdbCounter();
  readonly #frames: Frame[] = [];
  #phase: Phase = 'header';
  #rest: Buffer = Buffer.alloc(0);
  /** Bytes of a string that are still to be skipped. */
  #skip = 0;
  /** Where the bytes of `#rest` begin. */
  #offset = 0;
  #bytes = 0;
  /** The last bytes that came, which may be the checksum and are not part of it. */
  #tail: Buffer = Buffer.alloc(0);
  /** The byte before them. */
  #beforeTail = 0;
  #magic: RdbMagic = 'REDIS';
  #version: number | null = null;
  #footer: Buffer | null = null;
  #trailingBytes = 0;
  #uncounted: RdbReport['uncounted'] = null;
  /** When the next key expires. */
  #expiresAt: number | null = null;

  /** `onTrailing` gets what follows the end of the file: an append-only file may go on with commands. */
  constructor(onTrailing: (bytes: Buffer) => void = () => undefined) {
    this.#onTrailing = onTrailing;
  }

  push(chunk: Buffer): void {
    const start = this.#bytes;
    this.#bytes += chunk.length;
    const hadEnd = this.#phase === 'footer' || this.#phase === 'end';
    const endOfData = this.#walk(chunk);
    if (hadEnd) return;
    if (endOfData === null) this.#sumHoldingBack(chunk);
    else {
      this.#crc.update(this.#tail);
      this.#crc.update(chunk.subarray(0, endOfData - start));
    }
  }

  /** Returns the position behind the end mark when it was found in this chunk, else null. */
  #walk(chunk: Buffer): number | null {
    if (this.#needsNoMore() && this.#phase !== 'end') return null;
    if (this.#skip >= chunk.length) {
      this.#skip -= chunk.length;
      this.#offset += chunk.length;
      return null;
    }
    const cursor = new RdbCursor(this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]));
    cursor.at = this.#skip;
    this.#skip = 0;
    let endOfData: number | null = null;
    let kept = cursor.at;
    try {
      while (this.#phase !== 'end') {
        const wasEnd = this.#phase === 'footer';
        this.#step(cursor);
        kept = cursor.at;
        if (this.#phase === 'footer' && !wasEnd) endOfData = this.#offset + kept;
        if (cursor.beyond > 0) break;
      }
    } catch (error) {
      // The step is taken back, and with it what it has skipped.
      cursor.beyond = 0;
      if (error instanceof NotUnderstood) {
        if (this.#phase !== 'foreign') this.#phase = 'opaque';
        this.#uncounted = { offset: this.#offset + kept, byte: cursor.bytes[kept] ?? 0 };
      } else if (error !== MoreBytesNeeded) throw error;
    }
    if (this.#phase === 'end' && kept < cursor.bytes.length) {
      this.#trailingBytes += cursor.bytes.length - kept;
      this.#onTrailing(cursor.bytes.subarray(kept));
    }
    this.#skip = cursor.beyond;
    this.#offset += kept;
    this.#rest = this.#needsNoMore() ? Buffer.alloc(0) : Buffer.from(cursor.bytes.subarray(kept));
    return endOfData;
  }

  #needsNoMore(): boolean {
    return this.#phase === 'end' || this.#phase === 'opaque' || this.#phase === 'foreign';
  }

  /** The checksum of all but the last eight bytes. */
  #sumHoldingBack(chunk: Buffer): void {
    const all = chunk.length >= CHECKSUM_BYTES ? chunk : Buffer.concat([this.#tail, chunk]);
    if (all === chunk) this.#crc.update(this.#tail);
    const end = Math.max(0, all.length - CHECKSUM_BYTES);
    this.#crc.update(all.subarray(0, end));
    this.#beforeTail = all[end - 1] ?? this.#tail.at(-1) ?? this.#beforeTail;
    this.#tail = Buffer.from(all.subarray(end));
  }

  /** One complete step, or MoreBytesNeeded and nothing changed. */
  #step(cursor: RdbCursor): void {
    switch (this.#phase) {
      case 'header':
        return this.#header(cursor);
      case 'opcode':
        return this.#opcode(cursor);
      case 'value':
        return this.#value(cursor);
      case 'footer':
        this.#footer = Buffer.from(cursor.take(CHECKSUM_BYTES));
        this.#phase = 'end';
        return;
      case 'end':
      case 'opaque':
      case 'foreign':
        throw new Bug(`no step in phase ${this.#phase}`);
    }
  }

  #header(cursor: RdbCursor): void {
    const text = cursor.take(HEADER_BYTES).toString('latin1');
    const magic = HEADER.exec(text)?.[0];
    if (magic === undefined) {
      this.#phase = 'foreign';
      throw new NotUnderstood();
    }
    this.#magic = magic === 'VALKEY' ? 'VALKEY' : 'REDIS';
    this.#version = Number(text.slice(magic.length));
    this.#phase = 'opcode';
  }

  #opcode(cursor: RdbCursor): void {
    const opcode = cursor.byte();
    switch (opcode) {
      case OPCODE.aux: {
        const name = cursor.text();
        if (name === null) throw new NotUnderstood();
        this.#counter.aux(name, cursor.text());
        return;
      }
      case OPCODE.selectDatabase:
        return this.#counter.select(cursor.length());
      case OPCODE.resizeDatabase: {
        const keys = cursor.length();
        cursor.length();
        return this.#counter.announce(keys);
      }
      case OPCODE.expireMilliseconds:
        this.#expiresAt = Number(cursor.take(8).readBigInt64LE());
        return;
      case OPCODE.expireSeconds:
        this.#expiresAt = cursor.take(4).readInt32LE() * 1000;
        return;
      case OPCODE.idle:
        cursor.length();
        return;
      case OPCODE.frequency:
        cursor.take(1);
        return;
      case OPCODE.function2:
        cursor.skipString();
        return this.#counter.function();
      case OPCODE.slotInfo:
        for (let field = 0; field < 3; field += 1) cursor.length();
        return;
      case OPCODE.slotImport:
        if (this.#magic !== 'VALKEY') throw new NotUnderstood();
        return this.#begin(['string', { each: ['length', 'length'] }]);
      case OPCODE.moduleAux: {
        const id = cursor.wideLength();
        cursor.length();
        cursor.length();
        this.#counter.module(moduleTypeName(id));
        return this.#begin(['module']);
      }
      case OPCODE.end:
        this.#phase = (this.#version ?? 0) >= CHECKSUMS_SINCE ? 'footer' : 'end';
        return;
      default:
        return this.#key(cursor, opcode);
    }
  }

  #key(cursor: RdbCursor, typeByte: number): void {
    const layout = layoutOf(this.#magic, typeByte);
    if (layout === undefined) throw new NotUnderstood();
    cursor.skipString();
    this.#counter.key(layout.type, this.#expiresAt, layout.isVolatile);
    this.#expiresAt = null;
    this.#begin(layout.parts);
  }

  #begin(parts: readonly Part[]): void {
    this.#frames.push({ parts, part: 0, left: 1 });
    this.#phase = 'value';
  }

  /** One part of the innermost value. */
  #value(cursor: RdbCursor): void {
    const frame = this.#frames.at(-1);
    if (frame === undefined) {
      this.#phase = 'opcode';
      return;
    }
    if (frame.part === frame.parts.length) {
      frame.part = 0;
      frame.left -= 1;
    }
    if (frame.left <= 0) {
      this.#frames.pop();
      return;
    }
    const part = frame.parts[frame.part];
    if (part === undefined) throw new Bug('a group without parts');
    if (typeof part === 'object') {
      const left = cursor.length();
      frame.part += 1;
      this.#frames.push({ parts: part.each, part: 0, left });
      return;
    }
    if (part === 'module') {
      if (this.#modulePart(cursor)) frame.part += 1;
      return;
    }
    this.#simplePart(cursor, part);
    frame.part += 1;
  }
  #simplePart(cursor: RdbCursor, part: Exclude<Part, object | 'module'>): void {
    if (part === 'string') cursor.skipString();
    else if (part === 'length') cursor.length();
    else if (part === 'text-double') cursor.skipTextDouble();
    else if (part === 'module-id') this.#counter.module(moduleTypeName(cursor.wideLength()));
    else cursor.take(part);
  }

  /** Returns true at the end of the module's value. */
  #modulePart(cursor: RdbCursor): boolean {
    switch (cursor.length()) {
      case MODULE_OPCODE.end:
        return true;
      case MODULE_OPCODE.signed:
      case MODULE_OPCODE.unsigned:
        cursor.wideLength();
        return false;
      case MODULE_OPCODE.float:
        cursor.take(4);
        return false;
      case MODULE_OPCODE.double:
        cursor.take(8);
        return false;
      case MODULE_OPCODE.string:
        cursor.skipString();
        return false;
      default:
        throw new NotUnderstood();
    }
  }

  /** What the bytes so far are; call it once, when there are no more. */
  report(): RdbReport {
    const checksum = this.#checksum();
    const format = this.#version === null ? null : { magic: this.#magic, version: this.#version };
    // The end was not reached: a matching checksum means that the file is whole and the walker cannot follow it.
    const wasLost = this.#phase !== 'end' && (checksum === 'matches' || checksum === 'absent');
    return {
      format,
      bytes: this.#bytes,
      aux: this.#counter.auxFields(),
      state: format === null ? 'not-rdb' : this.#phase === 'end' || wasLost ? 'whole' : 'incomplete',
      checksum,
      trailingBytes: this.#trailingBytes,
      uncounted: this.#uncounted ?? (wasLost ? { offset: this.#offset, byte: null } : null),
      counts: this.#counter.counts(),
    };
  }

  #checksum(): RdbReport['checksum'] {
    const isWhole = this.#phase === 'end';
    const footer = isWhole ? this.#footer : this.#tail;
    const isZero = footer === null || footer.every((byte) => byte === 0);
    if (!isZero && this.#crc.digest().equals(footer)) return 'matches';
    if (isWhole) return isZero ? 'absent' : 'differs';
    // What is unknown in a newer format may well be right: the end mark stands where it has to.
    const isNewer = (this.#version ?? 0) > NEWEST_KNOWN_VERSION[this.#magic];
    const hasEndMark = isZero && this.#tail.length === CHECKSUM_BYTES && this.#beforeTail === OPCODE.end;
    return this.#phase === 'opaque' && isNewer && hasEndMark ? 'absent' : 'not-reached';
  }
}

/** Reads a stream to its end and reports what it is. A failure of the stream is thrown. */
export async function walkRdb(source: Readable): Promise<RdbReport> {
  const walker = new RdbWalker();
  for await (const chunk of source) walker.push(chunk);
  return walker.report();
}
