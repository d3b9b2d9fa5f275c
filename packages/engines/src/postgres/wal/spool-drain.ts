import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { inspectSegment } from './inspect-segment.ts';
import type { ReceiveSpool, SpooledFile } from './receive-spool.ts';
import type { SegmentProblem } from './segment-check.ts';
import { segmentStart } from './segment-name.ts';
import type { OpenRecord } from './segment-reader.ts';
import type { SegmentSink, WalFile } from './segment-sink.ts';

/** A file that must not be stored under its name. It stays where it is. */
export interface InvalidWal {
  readonly name: string;
  readonly problem: SegmentProblem;
}
export interface WalOrigin {
  readonly systemId: string;
  readonly segmentBytes: number;
  readonly majorVersion: number | null;
}

/** Reads and checks WAL files in their order, so that records across segments are read as well. */
export class WalInspector {
  readonly #origin: WalOrigin;
  #last: { readonly timeline: number; readonly number: number; readonly open: OpenRecord | null } | undefined;

  constructor(origin: WalOrigin) {
    this.#origin = origin;
  }

  /** The file with its hash and content, or why it must not be stored. */
  async inspect({ name, parsed, path }: SpooledFile): Promise<WalFile | InvalidWal> {
    const { kind, timeline } = parsed;
    if (parsed.kind === 'history' || parsed.kind === 'backup-history') {
      const bytes = await readFile(path);
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      const number = parsed.kind === 'history' ? null : parsed.number;
      return { kind, name, timeline, number, path, sizeBytes: bytes.length, sha256, content: null };
    }
    const { number } = parsed;
    const last = this.#last;
    const previous = last?.timeline === timeline && last.number === number - 1 ? last.open : null;
    const expected = { ...this.#origin, timeline, startLsn: segmentStart(number, this.#origin.segmentBytes) };
    const inspected = await inspectSegment(path, expected, kind === 'segment', previous);
    if (inspected.problem !== null) return { name, problem: inspected.problem };
    this.#last = { timeline, number, open: inspected.content?.openRecord ?? null };
    const { sizeBytes, sha256, content } = inspected;
    return { kind, name, timeline, number, path, sizeBytes, sha256, content };
  }
}

/** Stores the files of a receiver's spool in their order, one at a time, and removes each when it is durable in the sink. */
export class SpoolDrain {
  readonly #spool: ReceiveSpool;
  readonly #sink: SegmentSink;
  readonly #inspector: WalInspector;
  readonly #onStored: (file: SpooledFile) => void;
  readonly #waiting: SpooledFile[] = [];
  #wake: () => void = () => undefined;
  #isEnding = false;

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
  /** Lets `run` return when everything is stored. */
  end(): void {
    this.#isEnding = true;
    this.#wake();
  }

  /** Returns at the end, or with the file that must not be stored. Throws what the sink throws, and the reason of the signal. */
  async run(signal: AbortSignal): Promise<InvalidWal | null> {
    for (;;) {
      signal.throwIfAborted();
      const file = this.#waiting[0];
      if (file === undefined) {
        if (this.#isEnding) return null;
        await this.#untilWoken(signal);
        continue;
      }
      const inspected = await this.#inspector.inspect(file);
      if ('problem' in inspected) return inspected;
      await this.#sink.append(inspected, signal);
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
