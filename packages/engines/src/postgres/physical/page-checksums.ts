import type { Lsn } from '../wal/lsn.ts';

/** PostgreSQL's page checksum: 32 interleaved FNV-1a sums over 32-bit words (checksum_impl.h). */
const SUMS = 32;
const PRIME = 16_777_619;
const BASE_OFFSETS = Int32Array.from([
  0x5b1f36e9, 0xb8525960, 0x02ab50aa, 0x1de66d2a, 0x79ff467a, 0x9bb9f8a3, 0x217e7cd2, 0x83e13d2c, 0xf8d4474f,
  0xe39eb970, 0x42c6ae16, 0x993216fa, 0x7b093b5d, 0x98daff3c, 0xf718902a, 0x0b1c9cdb, 0xe58f764b, 0x187636bc,
  0x5d7b3bb1, 0xe73de7de, 0x92bec979, 0xcca6c0b2, 0x304a0979, 0x85aa43d4, 0x783125bb, 0x6ca8eaa2, 0xe407eac6,
  0x4b5cfc3e, 0x9fbf8c76, 0x15ca20be, 0xf2ca9fd3, 0x959bd756,
]);
/** Offsets inside a page header. */
const CHECKSUM_WORD = 2;
const UPPER_BYTE = 14;

/** The checksum of one page, given as its 32-bit words. The stored checksum is left out. */
export function pageChecksum(words: Int32Array, block: number): number {
  const stored = words[CHECKSUM_WORD] ?? 0;
  // pd_checksum is the low half of the word; pd_flags is the other.
  words[CHECKSUM_WORD] = stored & 0xffff0000;
  let folded = 0;
  const length = words.length;
  // Four sums at a time keep the multiplier busy and stay in registers.
  for (let sum = 0; sum < SUMS; sum += 4) {
    let a = BASE_OFFSETS[sum] ?? 0;
    let b = BASE_OFFSETS[sum + 1] ?? 0;
    let c = BASE_OFFSETS[sum + 2] ?? 0;
    let d = BASE_OFFSETS[sum + 3] ?? 0;
    for (let at = sum; at < length; at += SUMS) {
      const [va, vb, vc, vd] = [
        a ^ word(words, at),
        b ^ word(words, at + 1),
        c ^ word(words, at + 2),
        d ^ word(words, at + 3),
      ];
      a = Math.imul(va, PRIME) ^ (va >>> 17);
      b = Math.imul(vb, PRIME) ^ (vb >>> 17);
      c = Math.imul(vc, PRIME) ^ (vc >>> 17);
      d = Math.imul(vd, PRIME) ^ (vd >>> 17);
    }
    folded ^= finish(a) ^ finish(b) ^ finish(c) ^ finish(d);
  }
  words[CHECKSUM_WORD] = stored;
  return (((folded ^ block) >>> 0) % 65_535) + 1;
}
const word = (words: Int32Array, index: number): number => words[index] as number;
/** Two rounds of zeros at the end of each sum. */
const finish = (sum: number): number => {
  const once = Math.imul(sum, PRIME) ^ (sum >>> 17);
  return Math.imul(once, PRIME) ^ (once >>> 17);
};

/** A page whose bytes do not match its checksum. */
export interface DamagedPage {
  readonly path: string;
  readonly block: number;
}

const RELATION = /^(?:base\/\d+|global|pg_tblspc\/\d+\/PG_[^/]+\/\d+)\/\d+(?:_(?:fsm|vm|init))?(?:\.(\d+))?$/;
const SEGMENT_BYTES = 2 ** 30;

/** True for files of a data folder that consist of pages with checksums. */
export const hasPages = (path: string): boolean => RELATION.test(path);

/**
 * Checks the pages of one relation file while its bytes stream by. Pages that were changed since `startLsn` are skipped: a copy may
 * have caught them half written, and replay writes them anew. New pages have no checksum. Holds one page.
 */
export class PageChecker {
  readonly #path: string;
  readonly #startLsn: Lsn;
  readonly #page: Buffer;
  readonly #words: Int32Array;
  #filled = 0;
  #block: number;
  #checked = 0;

  constructor(path: string, startLsn: Lsn, blockBytes: number) {
    this.#path = path;
    this.#startLsn = startLsn;
    const memory = new ArrayBuffer(blockBytes);
    this.#page = Buffer.from(memory);
    this.#words = new Int32Array(memory);
    this.#block = Number(RELATION.exec(path)?.[1] ?? 0) * (SEGMENT_BYTES / blockBytes);
  }

  /** How many pages had a checksum to compare. */
  get checked(): number {
    return this.#checked;
  }

  /** The damaged pages among those that these bytes complete. */
  push(bytes: Buffer): readonly DamagedPage[] {
    const damaged: DamagedPage[] = [];
    for (let at = 0; at < bytes.length; ) {
      const copied = bytes.copy(this.#page, this.#filled, at, at + this.#page.length - this.#filled);
      at += copied;
      this.#filled += copied;
      if (this.#filled < this.#page.length) break;
      this.#filled = 0;
      if (!this.#isIntact()) damaged.push({ path: this.#path, block: this.#block });
      this.#block += 1;
    }
    return damaged;
  }

  #isIntact(): boolean {
    const page = this.#page;
    if (page.readUInt16LE(UPPER_BYTE) === 0) return true;
    const lsn = (BigInt(page.readUInt32LE(0)) << 32n) | BigInt(page.readUInt32LE(4));
    if (lsn >= this.#startLsn) return true;
    this.#checked += 1;
    return pageChecksum(this.#words, this.#block) === page.readUInt16LE(CHECKSUM_WORD * 4);
  }
}
