import { type EngineContext, Failure } from '@lastgood/core';
import { systemWaitingClock, type WaitingClock } from '@lastgood/host';
import { RedisSession } from './client.ts';
import type { RedisConnection } from './connection-schema.ts';
import { isNothingListening } from './readiness.ts';
import { readServerFacts, type ServerFacts } from './server-facts.ts';
import { readStoppedServer, type StoppedServerHints } from './stopped-server.ts';

export interface OpenServer extends AsyncDisposable {
  readonly session: RedisSession;
  readonly facts: ServerFacts;
}

/** Connects to the server of a target and reads its state. Fails as RedisSession does. */
export async function openServer(connection: RedisConnection, signal: AbortSignal): Promise<OpenServer> {
  const session = await RedisSession.open(connection, signal);
  try {
    const facts = await readServerFacts(session);
    return { session, facts, [Symbol.asyncDispose]: () => session[Symbol.asyncDispose]() };
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
}

/** A server that may be stopped: `session` is null then, and the state is that of its files. */
export interface FoundServerState extends AsyncDisposable {
  readonly session: RedisSession | null;
  readonly facts: ServerFacts;
}

/**
 * As openServer; for a server that does not run, and whose files the agent may read, the state that its configuration describes. `hintsOf` is
 * asked only then.
 */
export async function findServer(
  connection: RedisConnection,
  hintsOf: () => Promise<StoppedServerHints>,
  signal: AbortSignal,
): Promise<FoundServerState> {
  try {
    return await openServer(connection, signal);
  } catch (error) {
    if (!connection.fileAccess || !isNothingListening(error)) throw error;
    const facts = await readStoppedServer(connection, await hintsOf(), signal);
    return { session: null, facts, [Symbol.asyncDispose]: async () => undefined };
  }
}

/**
 * What tells this server from others: a server has no identifier that survives a restart, so it is its port and its data folder. A new
 * version of the server and a restore keep both.
 */
export const systemIdOf = ({ port, settings }: ServerFacts): string =>
  `port ${port ?? 0} ${settings?.dir ?? ''}`.trim();

/** Throws for a server that holds no data of its own, or not yet all of it. */
export function refuseUnfitSource({ mode, isLoading, isInSync }: ServerFacts): void {
  if (mode === 'sentinel')
    throw new Failure('DATABASE_REFUSED', 'the server is a Sentinel, which holds no data', {
      remedy: 'Set the address of the data server in the connection of the target.',
    });
  if (isLoading)
    throw new Failure('DATABASE_UNREACHABLE', 'the server is still loading its data', {
      remedy: 'Wait until it has started, then try again.',
    });
  if (isInSync === false)
    throw new Failure('DATABASE_UNREACHABLE', 'the server is a replica without a current copy of its master', {
      remedy: 'Repair the replication, or back up the master.',
    });
}

/** The clock of a call, which can also wait. */
export const waitingClockOf = ({ clock }: EngineContext): WaitingClock => ({
  ...clock,
  sleep: (ms, signal) => systemWaitingClock.sleep(ms, signal),
});
