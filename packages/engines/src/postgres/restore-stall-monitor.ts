import { setTimeout as delay } from 'node:timers/promises';
import { type EngineContext, Failure } from '@lastgood/core';
import type { PostgresConnection } from './connection-schema.ts';
import { Session } from './session.ts';

const TICK_MS = 1_000;
/** A server that takes longer to answer a probe is asked again over a new connection: an unresponsive network must not hold us up. */
const PROBE_MS = 10_000;
const seconds = (ms: number): string => `${Math.round(ms / 100) / 10} s`;

export interface Watched {
  readonly connection: PostgresConnection;
  /** The application_name of the loading tool. */
  readonly application: string;
  /** Null: no other session can hold a lock here, and a wait for one counts as doing nothing. */
  readonly lockWaitMs: number | null;
  /** When the tool last took something of its input, by the clock of the context. */
  movedAt(): number;
}
interface Activity {
  /** The server works for the tool: neither does it wait for it, nor for a lock. */
  readonly busy: boolean;
  /** The backend of the tool that waits for a lock, and who holds it. */
  readonly waiting: { readonly pid: number; readonly holders: string } | null;
}

/** One session for many probes, each with a time limit. */
class StallMonitor implements AsyncDisposable {
  readonly #connection: PostgresConnection;
  readonly #over: AbortSignal;
  #open: { readonly session: Session; readonly stop: AbortController } | undefined;
  constructor(connection: PostgresConnection, over: AbortSignal) {
    this.#connection = connection;
    this.#over = over;
  }
  /** Undefined when the server does not answer. */
  async ask<T>(question: (session: Session) => Promise<T>): Promise<T | undefined> {
    const stop = this.#open?.stop ?? new AbortController();
    const timer = setTimeout(() => stop.abort(), Math.min(PROBE_MS, this.#connection.stallMs));
    try {
      const signal = AbortSignal.any([this.#over, stop.signal]);
      this.#open ??= { session: await Session.open(this.#connection, this.#connection.database, signal), stop };
      return await question(this.#open.session);
    } catch {
      await this[Symbol.asyncDispose]();
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }
  async [Symbol.asyncDispose](): Promise<void> {
    const open = this.#open;
    this.#open = undefined;
    await open?.session[Symbol.asyncDispose]();
  }
}

async function probe(session: Session, application: string): Promise<Activity> {
  const backends = await session.rows<{ pid: number; busy: boolean; waiting: boolean; holders: string | null }>(
    `select a.pid, a.state = 'active' and coalesce(a.wait_event_type, '') not in ('Client', 'Lock') as busy, coalesce(a.wait_event_type, '') = 'Lock' as waiting,
      case when a.wait_event_type = 'Lock' then (
        select string_agg(concat_ws(' ', 'process', b.pid, 'of', coalesce(h.usename, 'a prepared transaction')), ', ')
        from unnest(pg_blocking_pids(a.pid)) as b(pid) left join pg_stat_activity h on h.pid = b.pid) end as holders
     from pg_stat_activity a where a.application_name = $1`,
    [application],
  );
  const waiting = backends.find((backend) => backend.waiting);
  return {
    busy: backends.some(({ busy }) => busy),
    waiting:
      waiting === undefined ? null : { pid: waiting.pid, holders: waiting.holders ?? 'a session that cannot be seen' },
  };
}

/** Watches until `over`; returns the failure that ends the load, or undefined when it ended by itself. */
async function watch(watched: Watched, clock: EngineContext['clock'], over: AbortSignal): Promise<Failure | undefined> {
  const { connection, application, lockWaitMs } = watched;
  const tick = Math.min(TICK_MS, connection.stallMs / 4, (lockWaitMs ?? TICK_MS) / 4);
  await using monitor = new StallMonitor(connection, over);
  let busyAt = clock.monotonic();
  let freeAt = clock.monotonic();
  try {
    for (;;) {
      await delay(tick, undefined, { signal: over });
      // Without an answer nothing is known to happen.
      const unseen: Activity = { busy: false, waiting: null };
      const seen = (await monitor.ask((session) => probe(session, application))) ?? unseen;
      const now = clock.monotonic();
      if (seen.busy) busyAt = now;
      if (seen.waiting === null) freeAt = now;
      if (lockWaitMs !== null && seen.waiting !== null && now - freeAt > lockWaitMs) {
        // It would stand in the queue before the readers of production until it notices that its client is gone.
        const { pid } = seen.waiting;
        await monitor.ask((session) => session.rows('select pg_terminate_backend($1)', [pid]));
        const message = `the database is in use: waited ${seconds(lockWaitMs)} for a lock of ${seen.waiting.holders}`;
        return new Failure('TARGET_BUSY', message, {
          remedy: 'Nothing was changed. Stop the clients that the message names, or restore with a swap.',
        });
      }
      if (now - Math.max(busyAt, watched.movedAt()) > connection.stallMs)
        return new Failure(
          'TOOL_STALLED',
          `pg_restore made no progress for ${seconds(connection.stallMs)}, and the server did nothing for it`,
        );
    }
  } catch (error) {
    if (over.aborted) return undefined;
    throw error;
  }
}

/**
 * Runs `work`, which loads a database, until the load stalls: pg_restore is silent while the server builds an index for hours, so
 * so only the server can show whether something happens. A wait for a lock of others has its own limit.
 */
export async function withStallDetection<T>(
  watched: Watched,
  context: EngineContext,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const over = new AbortController();
  const given = new AbortController();
  const watching = watch(watched, context.clock, over.signal);
  watching.then(
    (failure) => failure !== undefined && given.abort(failure),
    (error: unknown) => given.abort(error),
  );
  try {
    return await work(AbortSignal.any([context.signal, given.signal]));
  } catch (error) {
    over.abort();
    if (context.signal.aborted) throw context.signal.reason;
    // The tool may fail before the abort reaches it: the monitor knows the cause.
    throw (await watching) ?? error;
  } finally {
    over.abort();
    await watching.catch(() => undefined);
  }
}
