import type { ReceiveSpool, SpooledFile } from './receive-spool.ts';
import type { SegmentSink } from './segment-sink.ts';
import type { InvalidWal, WalInspector } from './wal-inspector.ts';

/** Why a drain ended before its time. The file stays in the spool. */
export type DrainOutcome =
  | ({ readonly kind: 'invalid' } & InvalidWal)
  | { readonly kind: 'conflict'; readonly name: string };

/** Stores the files of a receiver's spool in their order, one at a time, and removes each when it is durable in the sink. */
export class SpoolDrain {
  readonly #spool: ReceiveSpool;
  readonly #sink: SegmentSink;
  readonly #inspector: WalInspector;
  readonly #onStored: (file: SpooledFile) => void;
  readonly #waiting: SpooledFile[] = [];
  #wake: () => void = () => undefined;

  constructor(spool: ReceiveSpool, sink: SegmentSink, inspector: WalInspector, onStored: (file: SpooledFile) => void) {
    this.#spool = spool;
    this.#sink = sink;
    this.#inspector = inspector;
    this.#onStored = onStored;
  }

  get waiting(): number {
    return this.#waiting.length;
  }
  add(file: SpooledFile): void {
    this.#waiting.push(file);
    this.#wake();
  }

  /** Runs until a file cannot be stored. Throws what the sink throws, and the reason of the signal. */
  async run(signal: AbortSignal): Promise<DrainOutcome> {
    for (;;) {
      signal.throwIfAborted();
      const file = this.#waiting[0];
      if (file === undefined) {
        await this.#untilWoken(signal);
        continue;
      }
      const inspected = await this.#inspector.inspect(file);
      if ('problem' in inspected) return { kind: 'invalid', ...inspected };
      if ((await this.#sink.append(inspected, signal)) === 'conflict') return { kind: 'conflict', name: file.name };
      await this.#spool.remove(file);
      this.#waiting.shift();
      this.#onStored(file);
    }
  }

  async #untilWoken(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const onAbort = (): void => resolve();
    signal.addEventListener('abort', onAbort);
    await promise;
    signal.removeEventListener('abort', onAbort);
  }
}
