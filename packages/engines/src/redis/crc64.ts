/** The polynomial of Jones (0xad93d23594c935a9) with its bits reversed, as RDB files use it: no initial value, no final XOR. */
const POLYNOMIAL_HIGH = 0x95ac9329;
const POLYNOMIAL_LOW = 0xac4bc9b5;
const LANES = 8;
const ENTRIES = 256;

/** `LOW[lane * 256 + byte]` and `HIGH[…]`: the remainder of a byte followed by `lane` zero bytes, in two 32-bit halves. */
const LOW = new Uint32Array(LANES * ENTRIES);
const HIGH = new Uint32Array(LANES * ENTRIES);

function fillTables(): void {
  for (let byte = 0; byte < ENTRIES; byte += 1) {
    let low = byte;
    let high = 0;
    for (let bit = 0; bit < 8; bit += 1) {
      const isOdd = (low & 1) !== 0;
      low = ((low >>> 1) | (high << 31)) >>> 0;
      high >>>= 1;
      if (!isOdd) continue;
      low = (low ^ POLYNOMIAL_LOW) >>> 0;
      high = (high ^ POLYNOMIAL_HIGH) >>> 0;
    }
    LOW[byte] = low;
    HIGH[byte] = high;
  }
  for (let index = ENTRIES; index < LANES * ENTRIES; index += 1) {
    const low = LOW[index - ENTRIES] ?? 0;
    const high = HIGH[index - ENTRIES] ?? 0;
    const byte = low & 0xff;
    LOW[index] = ((low >>> 8) | (high << 24)) ^ (LOW[byte] ?? 0);
    HIGH[index] = (high >>> 8) ^ (HIGH[byte] ?? 0);
  }
}
fillTables();

/** Indexes are always in range: the fallback is for the compiler alone. */
const entry = (table: Uint32Array, index: number): number => table[index] ?? 0;

/** The CRC-64 of an RDB file over bytes that come in pieces, eight bytes at a time. */
export class Crc64 {
  #low = 0;
  #high = 0;

  update(bytes: Uint8Array): void {
    let low = this.#low;
    let high = this.#high;
    const end = bytes.length;
    let at = 0;
    for (const last = end - (end % LANES); at < last; at += LANES) {
      const a = low ^ word(bytes, at);
      const b = high ^ word(bytes, at + 4);
      const i7 = 0x700 | (a & 0xff);
      const i6 = 0x600 | ((a >>> 8) & 0xff);
      const i5 = 0x500 | ((a >>> 16) & 0xff);
      const i4 = 0x400 | (a >>> 24);
      const i3 = 0x300 | (b & 0xff);
      const i2 = 0x200 | ((b >>> 8) & 0xff);
      const i1 = 0x100 | ((b >>> 16) & 0xff);
      const i0 = b >>> 24;
      low =
        entry(LOW, i0) ^
        entry(LOW, i1) ^
        entry(LOW, i2) ^
        entry(LOW, i3) ^
        entry(LOW, i4) ^
        entry(LOW, i5) ^
        entry(LOW, i6) ^
        entry(LOW, i7);
      high =
        entry(HIGH, i0) ^
        entry(HIGH, i1) ^
        entry(HIGH, i2) ^
        entry(HIGH, i3) ^
        entry(HIGH, i4) ^
        entry(HIGH, i5) ^
        entry(HIGH, i6) ^
        entry(HIGH, i7);
    }
    for (; at < end; at += 1) {
      const index = (low ^ (bytes[at] ?? 0)) & 0xff;
      low = ((low >>> 8) | (high << 24)) ^ (LOW[index] ?? 0);
      high = (high >>> 8) ^ (HIGH[index] ?? 0);
    }
    this.#low = low;
    this.#high = high;
  }

  /** The sum so far, as a file stores it: eight bytes, the least significant first. */
  digest(): Buffer {
    const bytes = Buffer.alloc(8);
    bytes.writeUInt32LE(this.#low >>> 0, 0);
    bytes.writeUInt32LE(this.#high >>> 0, 4);
    return bytes;
  }
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24);
}
