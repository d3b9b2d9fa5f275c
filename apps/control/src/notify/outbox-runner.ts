import { type Clock, Failure, toWireError } from '@lastgood/core';
import type { Log } from '../log.ts';
import { nextTryMs } from './backoff.ts';
import { type Destination, destinationName } from './destinations.ts';
import type { OutgoingMessage, Sender, SendResult } from './sender.ts';

/** One copy of a message that waits for delivery. */
export interface OutboxEntry {
  readonly entryId: string;
  readonly contact: string;
  readonly destination: Destination;
  readonly message: OutgoingMessage;
  readonly createdMs: number;
  /** Tries that failed. */
  readonly tries: number;
}

export type OutboxOutcome =
  | { readonly state: 'sent'; readonly atMs: number }
  | { readonly state: 'waiting'; readonly tries: number; readonly nextTryMs: number; readonly cause: string }
  | { readonly state: 'given_up'; readonly atMs: number; readonly tries: number; readonly cause: string };

/** Where messages wait, durably. Entries have unique ids; adding one that exists changes nothing. */
export interface OutboxStore {
  /** Entries that are to be tried now, oldest first. */
  due(nowMs: number, limit: number): Promise<readonly OutboxEntry[]>;
  /** When the next entry is to be tried; null when none waits. */
  nextDueMs(): Promise<number | null>;
  record(entryId: string, outcome: OutboxOutcome): Promise<void>;
}

export interface OutboxRunnerOptions {
  readonly store: OutboxStore;
  /** Undefined when the destination is not configured: the entry waits, and its cause says so. */
  senderOf(destination: Destination): Sender | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** A number from 0 to 1. */
  random(): number;
  /** Resolves after a time, rejects when aborted (`setTimeout` of node:timers/promises). */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}

const BATCH = 20;
const IDLE_MS = 60_000;

/**
 * Delivers what the outbox holds. A try is recorded after it was made: after a crash in between a message is sent again, with the same
 * id. Destinations do not wait for each other.
 */
export class OutboxRunner {
  readonly #options: OutboxRunnerOptions;
  #wake = Promise.withResolvers<void>();

  constructor(options: OutboxRunnerOptions) {
    this.#options = options;
  }
  /** Makes a running loop check the outbox at once. Call it after entries were added. */
  wake(): void {
    this.#wake.resolve();
  }
  /** Tries everything that is due once. Returns how many entries were tried. */
  async runDue(signal: AbortSignal): Promise<number> {
    const { store, clock } = this.#options;
    let tried = 0;
    for (;;) {
      const entries = await store.due(clock.now(), BATCH);
      await Promise.all(entries.map((entry) => this.#deliver(entry, signal)));
      tried += entries.length;
      if (entries.length < BATCH || signal.aborted) return tried;
    }
  }
  /** Delivers until it is aborted. A store that fails is tried again later. */
  async run(signal: AbortSignal): Promise<void> {
    const { store, clock, log, wait } = this.#options;
    while (!signal.aborted) {
      this.#wake = Promise.withResolvers<void>();
      let pauseMs = IDLE_MS;
      try {
        await this.runDue(signal);
        const next = await store.nextDueMs();
        if (next !== null) pauseMs = Math.min(Math.max(next - clock.now(), 0), IDLE_MS);
      } catch (error) {
        log.error({ error: error instanceof Error ? error.message : String(error) }, 'the outbox could not be read');
      }
      const stop = new AbortController();
      const pause = wait(pauseMs, AbortSignal.any([signal, stop.signal])).catch(() => undefined);
      await Promise.race([pause, this.#wake.promise]);
      stop.abort();
      await pause;
    }
  }

  async #deliver(entry: OutboxEntry, signal: AbortSignal): Promise<void> {
    const { store, log } = this.#options;
    const result = await this.#try(entry, signal);
    // A stop ends tries in the middle. They are made again after the next start, and do not count.
    if (signal.aborted && result.outcome !== 'sent') return;
    const outcome = this.#outcomeOf(entry, result);
    await store.record(entry.entryId, outcome);
    const about = {
      contact: entry.contact,
      destination: destinationName(entry.destination),
      message: entry.message.messageId,
    };
    if (outcome.state === 'sent') log.info(about, 'notification sent');
    else log.warn({ ...about, state: outcome.state, cause: outcome.cause }, 'notification not delivered');
  }
  async #try({ destination, message }: OutboxEntry, signal: AbortSignal): Promise<SendResult> {
    const sender = this.#options.senderOf(destination);
    if (sender === undefined) return { outcome: 'retry', cause: 'NOT_CONFIGURED', retryAfterMs: null };
    try {
      return await sender.send(message, signal);
    } catch (error) {
      // A missing or unsafe secret file: the operator can correct it while the message waits. A defect must not stop other messages.
      const wire = toWireError(error);
      this.#options.log.error(
        { error: wire, stack: error instanceof Failure ? null : Object(error).stack },
        'a channel cannot be used',
      );
      return { outcome: 'retry', cause: wire.code, retryAfterMs: null };
    }
  }
  #outcomeOf({ tries, createdMs }: OutboxEntry, result: SendResult): OutboxOutcome {
    const { clock, random } = this.#options;
    const nowMs = clock.now();
    if (result.outcome === 'sent') return { state: 'sent', atMs: nowMs };
    const failed = { tries: tries + 1, cause: result.cause };
    if (result.outcome === 'rejected') return { state: 'given_up', atMs: nowMs, ...failed };
    const next = nextTryMs(tries + 1, createdMs, nowMs, result.retryAfterMs, random());
    return next === null
      ? { state: 'given_up', atMs: nowMs, ...failed }
      : { state: 'waiting', nextTryMs: next, ...failed };
  }
}
