import { Transform, type TransformCallback } from 'node:stream';
import type { RdbReport } from './rdb-report.ts';
import { RdbWalker } from './rdb-walker.ts';

/** Passes an RDB file on and walks it. `report()` is valid when the stream has ended. */
export class RdbTap extends Transform {
  readonly #walker = new RdbWalker();
  constructor() {
    super({ highWaterMark: 1024 * 1024 });
  }
  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#walker.push(chunk);
    done(null, chunk);
  }
  report(): RdbReport {
    return this.#walker.report();
  }
}
