import { setImmediate, setTimeout as wait } from 'node:timers/promises';
import { Bug, Failure } from '@lastgood/core';
import { SmtpInbox } from '@lastgood/testkit';
import { describe, expect, test } from 'vitest';
import { nextTryMs } from '../../src/notify/backoff.ts';
import { copyIdOf, type Destination, destinationsOf } from '../../src/notify/destinations.ts';
import { EmailSender } from '../../src/notify/email-sender.ts';
import {
  type OutboxEntry,
  type OutboxOutcome,
  OutboxRunner,
  type OutboxRunnerOptions,
  type OutboxStore,
} from '../../src/notify/outbox-runner.ts';
import type { Sender, SendResult } from '../../src/notify/sender.ts';
import { DAY, HOUR, LogBook, MESSAGE_ID, MINUTE, message, NOW, never } from './support.ts';

interface Row extends OutboxEntry {
  readonly nextTryMs: number;
  readonly outcome: OutboxOutcome | null;
}
/** The store as a catalog would keep it: rows by their id, which adding again does not change. */
class MemoryStore implements OutboxStore {
  readonly rows = new Map<string, Row>();
  add(destination: Destination, more: Partial<OutboxEntry> = {}): string {
    const entryId = copyIdOf(MESSAGE_ID, destination);
    const entry = { entryId, contact: 'dba', destination, message: message(), createdMs: NOW, tries: 0, ...more };
    if (!this.rows.has(entryId)) this.rows.set(entryId, { ...entry, nextTryMs: entry.createdMs, outcome: null });
    return entryId;
  }
  #waiting(): Row[] {
    return [...this.rows.values()].filter(({ outcome }) => outcome === null || outcome.state === 'waiting');
  }
  async due(nowMs: number, limit: number): Promise<readonly OutboxEntry[]> {
    return this.#waiting()
      .filter((row) => row.nextTryMs <= nowMs)
      .slice(0, limit);
  }
  async nextDueMs(): Promise<number | null> {
    const times = this.#waiting().map((row) => row.nextTryMs);
    return times.length === 0 ? null : Math.min(...times);
  }
  async record(entryId: string, outcome: OutboxOutcome): Promise<void> {
    const row = this.rows.get(entryId);
    if (row === undefined) throw new Bug(`no entry ${entryId}`);
    const tries = outcome.state === 'sent' ? row.tries : outcome.tries;
    const next = outcome.state === 'waiting' ? outcome.nextTryMs : row.nextTryMs;
    this.rows.set(entryId, { ...row, tries, nextTryMs: next, outcome });
  }
  states(): string[] {
    return [...this.rows.values()].map(({ outcome }) => outcome?.state ?? 'new');
  }
}

const toAddress = (address: string): Destination => ({ type: 'email', address });
/** Answers with these results in turn, then with success. */
const scripted = (...results: (SendResult | Error)[]): Sender & { tries: number } => ({
  tries: 0,
  async send() {
    this.tries += 1;
    const result = results.shift() ?? { outcome: 'sent' as const };
    if (result instanceof Error) throw result;
    return result;
  },
});
const later = (retryAfterMs: number | null = null): SendResult => ({
  outcome: 'retry',
  cause: 'HTTP_503',
  retryAfterMs,
});

class Harness {
  readonly store = new MemoryStore();
  readonly log = new LogBook();
  nowMs = NOW;
  readonly runner: OutboxRunner;
  constructor(senderOf: OutboxRunnerOptions['senderOf'], more: Partial<OutboxRunnerOptions> = {}) {
    this.runner = new OutboxRunner({
      store: this.store,
      senderOf,
      clock: { now: () => this.nowMs, monotonic: () => this.nowMs },
      log: this.log,
      random: () => 1,
      wait: async (ms, signal) => void (await wait(ms, undefined, { signal })),
      ...more,
    });
  }
}

describe('a message in the outbox', () => {
  test('is sent once', async () => {
    const sender = scripted();
    const { runner, store } = new Harness(() => sender);
    store.add(toAddress('a@example.com'));
    expect(await runner.runDue(never)).toBe(1);
    store.add(toAddress('a@example.com'));
    expect(await runner.runDue(never)).toBe(0);
    expect([sender.tries, store.states()]).toEqual([1, ['sent']]);
  });

  test('is tried again after 30 seconds, then twice as long each time, up to an hour', async () => {
    const sender = scripted(...Array.from({ length: 9 }, () => later()));
    const harness = new Harness(() => sender);
    const entryId = harness.store.add(toAddress('a@example.com'));
    const pauses: number[] = [];
    for (let round = 0; round < 9; round += 1) {
      await harness.runner.runDue(never);
      const next = harness.store.rows.get(entryId)?.nextTryMs ?? 0;
      pauses.push((next - harness.nowMs) / MINUTE);
      harness.nowMs = next - 1;
      expect(await harness.runner.runDue(never)).toBe(0);
      harness.nowMs = next;
    }
    expect(pauses).toEqual([0.5, 1, 2, 4, 8, 16, 32, 60, 60]);
    await harness.runner.runDue(never);
    expect(harness.store.states()).toEqual(['sent']);
  });

  test('waits as long as the receiver asks', async () => {
    const harness = new Harness(() => scripted(later(HOUR)));
    const entryId = harness.store.add(toAddress('a@example.com'));
    await harness.runner.runDue(never);
    expect(harness.store.rows.get(entryId)?.outcome).toEqual({
      state: 'waiting',
      tries: 1,
      nextTryMs: NOW + HOUR,
      cause: 'HTTP_503',
    });
  });

  test('is given up when the receiver rejects it, and after three days', async () => {
    const rejecting = new Harness(() => scripted({ outcome: 'rejected', cause: 'SMTP_550' }));
    rejecting.store.add(toAddress('a@example.com'));
    await rejecting.runner.runDue(never);
    expect(rejecting.store.states()).toEqual(['given_up']);
    const silent = new Harness(() => scripted(later(), later()));
    silent.store.add(toAddress('a@example.com'), { createdMs: NOW - 3 * DAY });
    await silent.runner.runDue(never);
    expect(silent.store.states()).toEqual(['given_up']);
  });

  test('does not wait for messages to other destinations', async () => {
    const broken = scripted(later(), later());
    const good = scripted();
    const { runner, store } = new Harness((to) =>
      to.type === 'email' && to.address === 'a@example.com' ? broken : good,
    );
    store.add(toAddress('a@example.com'));
    store.add(toAddress('b@example.com'));
    await runner.runDue(never);
    expect(store.states()).toEqual(['waiting', 'sent']);
  });

  test('to a destination that is not configured waits until it is', async () => {
    const harness = new Harness(() => undefined);
    const entryId = harness.store.add({ type: 'channel', name: 'pager' });
    await harness.runner.runDue(never);
    expect(harness.store.rows.get(entryId)?.outcome).toMatchObject({ state: 'waiting', cause: 'NOT_CONFIGURED' });
  });

  test('whose channel fails with a failure or a defect waits, and the log says why', async () => {
    const harness = new Harness((to) =>
      scripted(to.type === 'email' ? new Failure('CONFIG_INVALID', '/etc/x is empty') : new TypeError('secret text')),
    );
    const ids = [harness.store.add(toAddress('a@example.com')), harness.store.add({ type: 'channel', name: 'pager' })];
    await harness.runner.runDue(never);
    expect(ids.map((id) => harness.store.rows.get(id)?.outcome)).toMatchObject([
      { state: 'waiting', cause: 'CONFIG_INVALID' },
      { state: 'waiting', cause: 'BUG' },
    ]);
    expect(harness.log.lines.filter((line) => line.startsWith('error'))).toHaveLength(2);
  });

  test('whose delivery was stopped does not count as tried', async () => {
    const stop = new AbortController();
    const harness = new Harness(() => ({
      send: async () => {
        stop.abort();
        return later();
      },
    }));
    harness.store.add(toAddress('a@example.com'));
    await harness.runner.runDue(stop.signal);
    expect(harness.store.states()).toEqual(['new']);
  });

  test('in a long queue is sent with all others', async () => {
    const sender = scripted();
    const { runner, store } = new Harness(() => sender);
    for (let index = 0; index < 45; index += 1) store.add(toAddress(`a${index}@example.com`));
    expect(await runner.runDue(never)).toBe(45);
    expect(new Set(store.states())).toEqual(new Set(['sent']));
  });
});

describe('the running outbox', () => {
  test('sends what is added while it waits, once, through a mail server that fails at first', async () => {
    await using inbox = await SmtpInbox.open();
    const config = { host: '127.0.0.1', port: inbox.port, tls: 'none' as const, from: 'lastgood@example.com' };
    const harness = new Harness((to) => (to.type === 'email' ? new EmailSender(config, to.address) : undefined), {
      // Failed tries are due at once: the clock of the test moves with each pause.
      wait: async (ms, signal) => {
        if (ms < MINUTE) harness.nowMs += ms;
        else await wait(ms, undefined, { signal });
      },
    });
    const stop = new AbortController();
    const running = harness.runner.run(stop.signal);
    inbox.rejectNext('data', 451);
    harness.store.add(toAddress('a@example.com'));
    harness.store.add(toAddress('b@example.com'));
    harness.runner.wake();
    await expect.poll(() => inbox.received.length, { timeout: 60_000 }).toBe(2);
    await expect.poll(() => harness.store.states(), { timeout: 60_000 }).toEqual(['sent', 'sent']);
    stop.abort();
    await running;
    expect([inbox.attempts, inbox.received.map(({ to }) => to[0]).toSorted()]).toEqual([
      3,
      ['a@example.com', 'b@example.com'],
    ]);
  });

  test('goes on after its store failed', async () => {
    const sender = scripted();
    const harness = new Harness(() => sender, { wait: async () => void (await setImmediate()) });
    const due = harness.store.due.bind(harness.store);
    let failures = 2;
    harness.store.due = async (nowMs, limit) => {
      failures -= 1;
      if (failures >= 0) throw new Failure('IO_ERROR', 'the catalog cannot be read');
      return due(nowMs, limit);
    };
    harness.store.add(toAddress('a@example.com'));
    const stop = new AbortController();
    const running = harness.runner.run(stop.signal);
    await expect.poll(() => harness.store.states(), { timeout: 60_000 }).toEqual(['sent']);
    stop.abort();
    await running;
    expect(harness.log.lines.filter((line) => line.includes('outbox'))).toHaveLength(2);
  });
});

describe('tries', () => {
  test('are spread over the second half of each pause', () => {
    expect(nextTryMs(1, NOW, NOW, null, 0)).toBe(NOW + 15_000);
    expect(nextTryMs(1, NOW, NOW, null, 1)).toBe(NOW + 30_000);
    expect(nextTryMs(999, NOW, NOW, null, 1)).toBe(NOW + HOUR);
  });
});

test('a contact has one destination per address and channel, and one copy of a message for each', () => {
  const all = destinationsOf({ email: ['a@example.com', 'b@example.com'], channels: ['pager'] });
  expect(all).toEqual([toAddress('a@example.com'), toAddress('b@example.com'), { type: 'channel', name: 'pager' }]);
  expect(new Set(all.map((each) => copyIdOf(MESSAGE_ID, each))).size).toBe(3);
});
