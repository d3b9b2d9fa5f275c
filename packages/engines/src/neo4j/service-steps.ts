import { setTimeout as delay } from 'node:timers/promises';
import { type EngineContext, Failure, type ServiceControl } from '@lastgood/core';
import { boltTargetOf } from './bolt-session.ts';
import { boltReadiness, waitUntilMounted } from './mount-state.ts';
import { findServerProcess } from './store-lock.ts';
import type { Neo4jTarget } from './target.ts';

/** Takes back a stop of the server. */
export const START_SERVER = 'start-server';

/** A server that is killed leaves a store that needs recovery: a stop is waited for generously. */
const STOP_MS = 110_000;
const START_MS = 170_000;
const POLL_MS = 200;

/** The service of a target. Throws CONFIG_INVALID when the agent file names none. */
export function requireService({ service }: Neo4jTarget): ServiceControl {
  if (service !== null) return service;
  throw new Failure('CONFIG_INVALID', 'the agent file names no service, so the server cannot be stopped and started', {
    remedy: 'Add `service` to the target in the agent file.',
  });
}

type Call = Pick<EngineContext, 'signal'>;

/** Stops the server if it is running. Throws SERVICE_*, or DATABASE_REFUSED when a process still uses the store. */
export async function stopServer(target: Neo4jTarget, { signal }: Call): Promise<void> {
  const isReady = boltReadiness(target.connection);
  await requireService(target).stop({ deadlineMs: STOP_MS, signal, isReady });
  const left = await findServerProcess(target.paths.store);
  if (left !== null)
    throw new Failure('DATABASE_REFUSED', `the service is stopped, but process ${left.pid} still uses the store`, {
      remedy: 'Check that `service` and `dataFolder` of the target belong to the same server.',
    });
}

/** Starts the server if it is not running, and waits until it accepts connections. Its databases may still be mounting. */
export async function startServer(target: Neo4jTarget, { signal }: Call): Promise<void> {
  const isReady = boltReadiness(target.connection);
  await requireService(target).start({ deadlineMs: START_MS, signal, isReady });
}

/** Runs `work` while the server is stopped. The server is started again in any case; after a crash by the next agent. */
export async function whileStopped<T>(target: Neo4jTarget, context: EngineContext, work: () => Promise<T>): Promise<T> {
  requireService(target);
  return await context.steps.during(
    { kind: 'stop-server', params: {}, compensation: { kind: START_SERVER, params: {} } },
    () => stopServer(target, context),
    work,
  );
}

/**
 * Waits until all these databases can be queried. Throws DATABASE_ERROR for one that the server could not mount, and JOB_DEADLINE. A
 * server accepts connections a moment before it accepts logins.
 */
export async function waitUntilUsable(
  { connection }: Neo4jTarget,
  databases: readonly string[],
  { signal }: Call,
): Promise<void> {
  const bolt = await boltTargetOf(connection);
  const until = performance.now() + START_MS;
  for (const database of databases) {
    const state = await retryWhileUnreachable(until, signal, () => waitUntilMounted(bolt, database, START_MS, signal));
    if (state === 'failed')
      throw new Failure('DATABASE_ERROR', `the server started, but could not mount database "${database}"`);
  }
}

async function retryWhileUnreachable<T>(until: number, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      const mayCome = error instanceof Failure && error.code === 'DATABASE_UNREACHABLE';
      if (!mayCome || performance.now() > until) throw error;
    }
    await delay(POLL_MS, undefined, { signal });
  }
}
