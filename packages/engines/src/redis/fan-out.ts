import { Writable } from 'node:stream';

/** Writes everything into several streams, as fast as the slowest takes it. Ends when all have ended. */
export class FanOut extends Writable {
  readonly #outputs: readonly Writable[];
  constructor(outputs: readonly Writable[]) {
    super({ highWaterMark: 1024 * 1024 });
    this.#outputs = outputs;
    // The next write reports it.
    for (const output of outputs) output.on('error', (error) => this.destroy(error));
  }
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#all((output, settle) => output.write(chunk, settle), done);
  }
  override _final(done: (error?: Error | null) => void): void {
    this.#all((output, settle) => output.end(settle), done);
  }
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (error !== null) for (const output of this.#outputs) output.destroy(error);
    done(error);
  }
  #all(
    call: (output: Writable, settle: (error?: Error | null) => void) => void,
    done: (error?: Error | null) => void,
  ): void {
    const calls = this.#outputs.map((output) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      call(output, (error) => (error == null ? resolve() : reject(error)));
      return promise;
    });
    Promise.all(calls).then(() => done(), done);
  }
}
