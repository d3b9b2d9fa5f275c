import type { PostgresConnection } from '../connection-schema.ts';
import { ReplicationSession } from '../replication/replication-session.ts';
import { Session } from '../session.ts';
import type { ReceiverOptions, ReceiverOutcome } from './receiver-options.ts';
import { ReceiverRun } from './receiver-run.ts';
import { readSlotView, type SlotView } from './slot.ts';

/** Creates the slot of a receiver, which keeps WAL from now on. */
export async function createReceiverSlot(
  connection: PostgresConnection,
  slot: string,
  signal: AbortSignal,
): Promise<void> {
  await using session = await ReplicationSession.open(connection, signal);
  await session.createSlot(slot, 'permanent');
}

/** Lets a slot go, and with it the WAL that the server keeps for it. */
export async function dropReceiverSlot(
  connection: PostgresConnection,
  slot: string,
  signal: AbortSignal,
): Promise<void> {
  await using session = await ReplicationSession.open(connection, signal);
  await session.dropSlot(slot);
}

/**
 * Receives WAL over a physical slot until the signal aborts, follows timelines, and stores segments through the sink in their order.
 * WAL is acknowledged to the server only after it is durable. Killed at any point, the next run continues from the repository and the spool.
 * Throws what connection, disk and sink throw; reconnecting with pauses is the caller's.
 */
export async function receiveWal(options: ReceiverOptions, signal: AbortSignal): Promise<ReceiverOutcome> {
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  try {
    const view = await inspectSlot(options, either);
    await using session = await ReplicationSession.open(options.connection, either, 'lastgood_wal');
    const run = new ReceiverRun(options, view, session, either);
    const prepared = await run.prepare();
    if (prepared !== null) return prepared;
    return await endTogether([run.receive(), run.drain()], () => stop.abort());
  } catch (error) {
    if (signal.aborted) return { kind: 'stopped' };
    throw error;
  }
}

async function inspectSlot({ connection, slot }: ReceiverOptions, signal: AbortSignal): Promise<SlotView> {
  await using session = await Session.open(connection, connection.database, signal);
  return await readSlotView(session, slot);
}

/** The first outcome or error of several tasks; the others are stopped and awaited. */
async function endTogether<T>(tasks: readonly Promise<T>[], stop: () => void): Promise<T> {
  try {
    return await Promise.race(tasks);
  } finally {
    stop();
    await Promise.allSettled(tasks);
  }
}
