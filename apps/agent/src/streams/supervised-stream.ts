import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Clock, Failure, type LogStream, type StreamContext, toWireError } from '@lastgood/core';
import { type Finding, findingKey, makeFinding, type StreamReport } from '@lastgood/protocol';
import type { Target } from '../jobs/targets.ts';
import type { Log } from '../log.ts';

const FIRST_PAUSE_MS = 1_000;
/** Leftovers of a log that are younger may belong to a writer that is just ending. */
const SWEEP_GRACE_MS = 10 * 60_000;
const LONGEST_PAUSE_MS = 60_000;
/** A run that lasted so long has no failed tries behind it. */
const STABLE_MS = 60_000;
/** A comparison that takes longer counts as failed. */
const CHECK_MS = 60_000;
/** The first failure may pass by itself, such as a slot that the connection of a killed agent still holds. */
const REPORTED_TRIES = 2;

export interface StreamParts {
  readonly dataDir: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  /** The findings of a stream have changed. */
  readonly onChange: () => void;
}

/** Runs the log stream of one target until it is stopped, with growing pauses after failures, and compares it with its server. */
export class SupervisedStream {
  readonly #target: Target;
  readonly #stream: LogStream;
  readonly #parts: StreamParts;
  readonly #stop = new AbortController();
  readonly #tasks: Promise<unknown>;
  #report: StreamReport;
  #checked: readonly Finding[] = [];
  #failure: Finding | null = null;
  #reported = '';
  #sweepAt = Number.NEGATIVE_INFINITY;

  constructor(target: Target, stream: LogStream, parts: StreamParts) {
    this.#target = target;
    this.#stream = stream;
    this.#parts = parts;
    this.#report = {
      id: stream.id,
      state: 'stopped',
      storedTo: null,
      serverAt: null,
      lagBytes: null,
      storedUntil: null,
      gaps: [],
    };
    this.#tasks = stream.isEnabled ? Promise.all([this.#run(), this.#watch()]) : this.#remove();
  }

  get report(): StreamReport {
    return this.#report;
  }
  get findings(): readonly Finding[] {
    return this.#failure === null ? this.#checked : [...this.#checked, this.#failure];
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#tasks;
  }

  async #context(signal: AbortSignal): Promise<StreamContext> {
    const { clock, dataDir, log } = this.#parts;
    const { name, ref } = this.#target;
    const repository = await this.#target.repository();
    return {
      log: repository.log(ref, this.#stream.id),
      spoolFolder: join(dataDir, 'streams', name, this.#stream.id),
      signal,
      clock,
      note: (message) => log.info({ target: name, stream: this.#stream.id }, message),
    };
  }

  async #run(): Promise<void> {
    const { clock } = this.#parts;
    const { signal } = this.#stop;
    for (let tries = 0; !signal.aborted; ) {
      const startedAt = clock.monotonic();
      const error = await this.#runOnce(signal);
      if (signal.aborted) return;
      tries = clock.monotonic() - startedAt > STABLE_MS ? 1 : tries + 1;
      this.#noteFailure(error, tries);
      await this.#pause(tries);
    }
  }
  /** What an earlier run left could stand in the way of new segments. A sweep lists the whole log, and younger leftovers stay anyway. */
  async #sweep({ log, note }: StreamContext): Promise<void> {
    const now = this.#parts.clock.monotonic();
    if (now < this.#sweepAt) return;
    const swept = await log.sweep(SWEEP_GRACE_MS);
    this.#sweepAt = now + SWEEP_GRACE_MS;
    if (swept.length > 0) note(`removed leftovers: ${swept.length}`);
  }
  /** Returns what ended the run. */
  async #runOnce(signal: AbortSignal): Promise<unknown> {
    const working = setTimeout(() => this.#clearFailure(), STABLE_MS / 4);
    try {
      const context = await this.#context(signal);
      await this.#sweep(context);
      await this.#stream.run(context);
      return new Failure('STREAM_STOPPED', 'the stream ended without a reason');
    } catch (error) {
      return error;
    } finally {
      clearTimeout(working);
    }
  }
  async #pause(tries: number): Promise<void> {
    const most = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(tries, 10));
    const { signal } = this.#stop;
    await delay((most * (1 + this.#parts.random())) / 2, undefined, { signal }).catch(() => undefined);
  }
  #noteFailure(error: unknown, tries: number): void {
    const wire = toWireError(error);
    this.#parts.log.warn(
      { target: this.#target.name, stream: this.#stream.id, tries, error: wire },
      'the log stream ended',
    );
    if (tries < REPORTED_TRIES) return;
    this.#failure = makeFinding('STREAM_FAILED', null, { error: wire.code, reason: wire.message });
    this.#publish();
  }
  #clearFailure(): void {
    this.#failure = null;
    this.#publish();
  }

  /** Compares again and again, also while the stream waits to run again. */
  async #watch(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#check();
      await delay(this.#stream.checkEveryMs, undefined, { signal }).catch(() => undefined);
    }
  }
  async #check(): Promise<void> {
    const { signal } = this.#stop;
    try {
      const until = AbortSignal.any([signal, AbortSignal.timeout(CHECK_MS)]);
      const { report, findings } = await this.#stream.check(await this.#context(until));
      this.#report = report;
      this.#checked = findings;
      if (this.#failure !== null && (report.state === 'idle' || findings.length === 0)) this.#failure = null;
    } catch (error) {
      if (signal.aborted) return;
      // What cannot be reached is a finding of the server or of the repository already; the last position stays.
      this.#parts.log.warn(
        { target: this.#target.name, stream: this.#stream.id, error: toWireError(error) },
        'the log stream could not be compared with its server',
      );
      this.#report = { ...this.#report, state: 'stopped' };
    }
    this.#publish();
  }

  async #remove(): Promise<void> {
    const { signal } = this.#stop;
    for (let tries = 1; !signal.aborted; tries += 1) {
      try {
        await this.#stream.remove({ signal });
        return;
      } catch (error) {
        this.#noteFailure(error, tries);
        await this.#pause(tries);
      }
    }
  }

  #publish(): void {
    const findings = this.findings.map(findingKey).sort().join();
    if (findings === this.#reported) return;
    this.#reported = findings;
    this.#parts.onChange();
  }
}
