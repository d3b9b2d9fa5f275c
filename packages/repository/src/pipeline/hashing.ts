import { createHash } from 'node:crypto';
import { Transform, type TransformCallback } from 'node:stream';

export interface Digest {
  readonly size: number;
  readonly sha256: string;
}

/** Counts and hashes what passes. `digest()` is valid once the stream has ended. */
export class HashingStream extends Transform {
  readonly #hash = createHash('sha256');
  readonly #onBytes: (bytes: number) => void;
  #size = 0;
  constructor(onBytes: (bytes: number) => void = () => undefined) {
    super({ highWaterMark: 1024 * 1024 });
    this.#onBytes = onBytes;
  }
  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#hash.update(chunk);
    this.#size += chunk.length;
    this.#onBytes(chunk.length);
    done(null, chunk);
  }
  get size(): number {
    return this.#size;
  }
  digest(): Digest {
    return { size: this.#size, sha256: this.#hash.digest('hex') };
  }
}

export const isEqual = (a: Digest, b: Digest): boolean => a.size === b.size && a.sha256 === b.sha256;
