import { setTimeout as delay } from 'node:timers/promises';
import { type EngineContext, Failure } from '@lastgood/core';
import { Session } from './connection.ts';
import type { PostgresConnection } from './connection-schema.ts';

const TICK_MS = 1_000;
/** A server that takes longer to say what it does is looked at anew: a silent network must not make us wait for its answer. */
const LOOK_MS = 10_000;
const seconds = (ms: number): string => `${Math.round(ms / 100) / 10} s`;

export interface Watched {
  readonly connection: PostgresConnection;
  /** What the loading tool calls itself: application_name. */
  readonly application: string;
  /** Null: locks are nobody else's, and a wait for one is no different from doing nothing. */
  readonly lockWaitMs: number | null;
  /** When the tool last took something of its input, by the clock of the context. */
  movedAt(): number;
}
interface Look {
  /** The server works for the tool: neither does it wait for it, nor for a lock. */
  readonly busy: boolean;
  /** The backend of the tool that waits for a lock, and who holds it. */
  readonly waiting: { readonly pid: number; readonly holders: string } | null;
}

/** One session for many looks, of which each has its limit. */
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
    const timer = setTimeout(() => stop.abort(), Math.min(LOOK_MS, this.#connection.stallMs));
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

async function look(session: Session, application: string): Promise<Look> {
  const backends = await session.rows<{ pid: number; busy: boolean; waiting: boolean; holders: string | null }>(
    `select a.pid, a.state = 'active' and coalesce(a.wait_event_type, '') not in ('Client', 'Lock') as busy, coalesce(a.wait_event_type, '') = 'Lock' as waiting,
      case when a.wait_event_type = 'Lock' then (
        select string_agg(concat_ws(' ', 'process', b.pid, 'of', coalesce(h.usename, 'a prepared transaction'), nullif(h.application_name, '')), ', ')
        from unnest(pg_blocking_pids(a.pid)) as b(pid) left join pg_stat_activity h on h.pid = b.pid) end as holders
     from pg_stat_activity a where a.application_name = $1`,
    [application],
  );
  const waiting = backends.find((backend) => backend.waiting);
  return {
    busy: backends.some(({ busy }) => busy),
    waiting: waiting === undefined ? null : { pid: waiting.pid, holders: waiting.holders ?? 'nobody that is seen' },
  };
}

/** InventoryCollector until `over`; returns the failure that ends the load, or undefined when it ended by itself. */
async function watch(watched: Watched, clock: EngineContext['clock'], over: AbortSignal): Promise<Failure | undefined> {
  const { connection, application, lockWaitMs } = watched;
  const tick = Math.min(TICK_MS, connection.stallMs / 4, (lockWaitMs ?? TICK_MS) / 4);
  await using lookout = new StallMonitor(connection, over);
  let busyAt = clock.monotonic();
  let freeAt = clock.monotonic();
  try {
    for (;;) {
      await delay(tick, undefined, { signal: over });
      // A server that does not answer does nothing for us that we could see.
      const unseen: Look = { busy: false, waiting: null };
      const seen = (await lookout.ask((session) => look(session, application))) ?? unseen;
      const now = clock.monotonic();
      if (seen.busy) busyAt = now;
      if (seen.waiting === null) freeAt = now;
      if (lockWaitMs !== null && seen.waiting !== null && now - freeAt > lockWaitMs) {
        // It would stand in the queue before the readers of production until it notices that its client is gone.
        const { pid } = seen.waiting;
        await lookout.ask((session) => session.rows('select pg_terminate_backend($1)', [pid]));
        const message = `the database is in use: waited ${seconds(lockWaitMs)} for a lock of ${seen.waiting.holders}`;
        return new Failure('RESTORE_FAILED', message, {
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
 * that only the server can say whether something happens. A wait for a lock of others has its own limit.
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
    // The tool may have noticed what the watch did before it was told: the watch knows the cause.
    throw (await watching) ?? error;
  } finally {
    over.abort();
    await watching.catch(() => undefined);
  }
}
