import { Transform, type TransformCallback } from 'node:stream';
import type { RdbReport } from './rdb-report.ts';
import { RdbWalker } from './rdb-walker.ts';

/** Passes an RDB file on and walks it. `report()` is valid when the stream has ended. */
export class RdbTap extends Transform {
  readonly #walker = new RdbWalker();
  readonly #onBytes: (doneBytes: number) => void;
  #doneBytes = 0;
  /** `onBytes` is called with the bytes that have passed so far. */
  constructor(onBytes: (doneBytes: number) => void = () => undefined) {
    super({ highWaterMark: 1024 * 1024 });
    this.#onBytes = onBytes;
  }
  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#walker.push(chunk);
    this.#doneBytes += chunk.length;
    this.#onBytes(this.#doneBytes);
    done(null, chunk);
  }
  report(): RdbReport {
    return this.#walker.report();
  }
}
