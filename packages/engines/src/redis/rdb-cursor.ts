import { STRING_ENCODING } from './rdb-format.ts';

/** Thrown, as a control signal, when a step needs bytes that have not come yet. Never leaves the walker. */
export const MoreBytesNeeded = Symbol('more bytes are needed');
/** Thrown when bytes mean nothing to us. Never leaves the walker. */
export class NotUnderstood extends Error {
  override readonly name = 'NotUnderstood';
}

/** Texts up to this length are read whole; longer ones are skipped. */
const LONGEST_TEXT = 64 * 1024;

/** Reads the basic forms of an RDB file out of the bytes at hand. */
export class RdbCursor {
  readonly bytes: Buffer;
  at = 0;
  /** Bytes of a skipped string that lie behind the bytes at hand. */
  beyond = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  byte(): number {
    const byte = this.bytes[this.at];
    if (byte === undefined) throw MoreBytesNeeded;
    this.at += 1;
    return byte;
  }

  /** So many bytes, which must all be at hand: for small numbers only. */
  take(count: number): Buffer {
    const from = this.at;
    if (from + count > this.bytes.length) throw MoreBytesNeeded;
    this.at += count;
    return this.bytes.subarray(from, this.at);
  }

  /** A length; of those above 2^53 only the size is right. */
  length(): number {
    const first = this.byte();
    switch (first >>> 6) {
      case 0:
        return first;
      case 1:
        return ((first & 0x3f) << 8) | this.byte();
      case 2:
        if (first === 0x80) return this.take(4).readUInt32BE();
        if (first === 0x81) return Number(this.take(8).readBigUInt64BE());
        throw new NotUnderstood();
      default:
        throw new NotUnderstood();
    }
  }

  /** A length of 64 bits that is a number of its own, such as the id of a module. */
  wideLength(): bigint {
    if (this.bytes[this.at] !== 0x81) return BigInt(this.length());
    this.at += 1;
    return this.take(8).readBigUInt64BE();
  }

  skipString(): void {
    this.#skip(this.#stringLength());
  }

  /** A string in its plain form or as a number; null when it is compressed or longer than 64 KiB. */
  text(): string | null {
    const first = this.bytes[this.at] ?? 0;
    if (first >>> 6 === 3 && (first & 0x3f) !== STRING_ENCODING.lzf) return String(this.#number());
    const length = this.#stringLength();
    if (first >>> 6 === 3 || length > LONGEST_TEXT) {
      this.#skip(length);
      return null;
    }
    return this.take(length).toString('utf8');
  }

  /** A score as text behind its length; lengths from 253 stand for not-a-number and the infinities. */
  skipTextDouble(): void {
    const length = this.byte();
    if (length < 253) this.take(length);
  }

  #number(): number {
    switch (this.byte() & 0x3f) {
      case STRING_ENCODING.int8:
        return this.take(1).readInt8();
      case STRING_ENCODING.int16:
        return this.take(2).readInt16LE();
      case STRING_ENCODING.int32:
        return this.take(4).readInt32LE();
      default:
        throw new NotUnderstood();
    }
  }

  /** The number of bytes that follow. */
  #stringLength(): number {
    const first = this.bytes[this.at];
    if (first === undefined) throw MoreBytesNeeded;
    if (first >>> 6 !== 3) return this.length();
    this.at += 1;
    switch (first & 0x3f) {
      case STRING_ENCODING.int8:
        return 1;
      case STRING_ENCODING.int16:
        return 2;
      case STRING_ENCODING.int32:
        return 4;
      case STRING_ENCODING.lzf: {
        const compressed = this.length();
        this.length();
        return compressed;
      }
      default:
        throw new NotUnderstood();
    }
  }

  #skip(count: number): void {
    const left = this.bytes.length - this.at;
    this.beyond = Math.max(0, count - left);
    this.at += Math.min(count, left);
  }
}
