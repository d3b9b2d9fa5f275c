import { createHash, type Hash } from 'node:crypto';

const WORDS = 8;
const LENGTH_BYTES = 8;

/** A SHA-256 over parts, each preceded by its length: ("ab", "c") and ("a", "bc") differ. */
export class PartsHash {
  readonly #hash: Hash = createHash('sha256');
  readonly #length = Buffer.alloc(LENGTH_BYTES);

  add(...parts: readonly (Buffer | string | number | null)[]): this {
    for (const part of parts) {
      const bytes = Buffer.isBuffer(part) ? part : Buffer.from(part === null ? '' : String(part));
      // Nothing is not the same as empty.
      this.#length.writeBigInt64LE(part === null ? -1n : BigInt(bytes.length));
      this.#hash.update(this.#length).update(bytes);
    }
    return this;
  }
  digest(): Buffer {
    return this.#hash.digest();
  }
}

/**
 * The sum of SHA-256 digests modulo 2^256: the same for the same digests in any order, and changed by one that is lost, added, doubled or
 * altered.
 */
export class DigestSum {
  readonly #words = new Uint32Array(WORDS);
  count = 0;

  add(digest: Buffer): void {
    this.count += 1;
    let carry = 0;
    for (let word = WORDS - 1; word >= 0; word -= 1) {
      const sum = (this.#words[word] ?? 0) + digest.readUInt32BE(word * 4) + carry;
      this.#words[word] = sum;
      carry = sum > 0xffff_ffff ? 1 : 0;
    }
  }
  hex(): string {
    return [...this.#words].map((word) => word.toString(16).padStart(8, '0')).join('');
  }
}
