import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type EngineContext, Failure, type SegmentLog } from '@lastgood/core';
import type { PostgresConnection } from '../connection-schema.ts';
import { ReplicationSession } from '../replication/replication-session.ts';
import { Session } from '../session.ts';
import { formatLsn, type Lsn } from './lsn.ts';
import type { ReceiverOutcome, ReceiverState } from './receiver-options.ts';
import { ReceiverRun } from './receiver-run.ts';
import { segmentLogSink } from './segment-log.ts';
import { segmentAt, segmentBefore, segmentName } from './segment-name.ts';
import { readSlotView } from './slot.ts';

const POLL_MS = 200;

/** Makes sure that the WAL of a backup is in the repository. */
export interface BackupWal extends AsyncDisposable {
  /** Resolves when every segment up to `endLsn` is stored. Throws what keeps it from being stored. */
  untilStored(startLsn: Lsn, endLsn: Lsn, timeline: number, segmentBytes: number): Promise<void>;
}

const notStored = (startLsn: Lsn, endLsn: Lsn, waitMs: number): Failure =>
  new Failure(
    'STREAM_STOPPED',
    `the WAL of the backup (${formatLsn(startLsn)} to ${formatLsn(endLsn)}) was not stored within ${Math.round(waitMs / 1000)} s`,
    {
      remedy:
        'Check that the WAL stream of the target follows the server (`lastgood targets`). On a standby, the last segment is complete only when its primary has filled it.',
    },
  );

/** The names of the segments from the one with the byte at `startLsn` to the last one before `endLsn`. */
function segmentsOf(startLsn: Lsn, endLsn: Lsn, timeline: number, segmentBytes: number): string[] {
  const first = segmentAt(startLsn, segmentBytes);
  const count = segmentBefore(endLsn, segmentBytes) - first + 1;
  return Array.from({ length: count }, (_, index) => segmentName(timeline, first + index, segmentBytes));
}

/** The stream of the target stores the WAL; the backup waits for it. */
export function awaitStream(log: SegmentLog, waitMs: number, context: EngineContext): BackupWal {
  return {
    async untilStored(startLsn, endLsn, timeline, segmentBytes) {
      const names = segmentsOf(startLsn, endLsn, timeline, segmentBytes);
      const [from, to] = [names.at(0), names.at(-1)];
      const until = context.clock.monotonic() + waitMs;
      // Every segment: a stream that lost its slot goes on after a hole.
      for (;;) {
        const stored = new Set(
          await log.list({ ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) }),
        );
        if (names.every((name) => stored.has(name))) break;
        if (context.clock.monotonic() > until) throw notStored(startLsn, endLsn, waitMs);
        await delay(POLL_MS, undefined, { signal: context.signal });
      }
    },
    [Symbol.asyncDispose]: async () => undefined,
  };
}

/**
 * Receives the WAL of one backup over a temporary slot, which vanishes with the connection: no crash leaves a slot behind. Start it
 * before the backup.
 */
export async function receiveForBackup(
  connection: PostgresConnection,
  log: SegmentLog,
  waitMs: number,
  context: EngineContext,
): Promise<BackupWal> {
  const stop = new AbortController();
  const signal = AbortSignal.any([context.signal, stop.signal]);
  const spoolFolder = join(context.workDir, 'wal');
  await mkdir(spoolFolder, { mode: 0o700 });
  const slot = `lastgood_${randomUUID().replaceAll('-', '')}`;
  await using cleanup = new AsyncDisposableStack();
  const session = cleanup.use(await ReplicationSession.open(connection, signal, 'lastgood_backup_wal'));
  await session.createSlot(slot, 'temporary');
  const view = await readView(connection, slot, signal);
  let state: ReceiverState | undefined;
  const options = {
    connection,
    slot,
    spoolFolder,
    spoolSegments: 64,
    sink: segmentLogSink(log),
    stored: {
      systemId: view.systemId,
      holdings: { segmentBytes: view.segmentBytes, ranges: [], partials: [], histories: new Map() },
    },
    acknowledge: 'repository' as const,
    afterGap: true,
    clock: context.clock,
    onState: (now: ReceiverState) => {
      state = now;
    },
  };
  const run = new ReceiverRun(options, view, session, signal);
  const refused = await run.prepare();
  if (refused !== null)
    throw new Failure('DATABASE_ERROR', `the WAL of the backup cannot be received: ${refused.kind}`);
  let ended: { readonly outcome?: ReceiverOutcome; readonly error?: unknown } | undefined;
  const tasks = [run.receive(), run.drain()];
  const running = Promise.race(tasks).then(
    (outcome) => {
      ended = { outcome };
    },
    (error: unknown) => {
      ended = { error };
    },
  );
  cleanup.defer(async () => {
    stop.abort();
    await Promise.allSettled([running, ...tasks]);
  });
  const open = cleanup.move();
  return {
    async untilStored(startLsn, endLsn) {
      const until = context.clock.monotonic() + waitMs;
      while ((state?.storedLsn ?? 0n) < endLsn) {
        context.signal.throwIfAborted();
        if (ended !== undefined)
          throw (
            ended.error ?? new Failure('DATABASE_ERROR', `the WAL of the backup ended early: ${ended.outcome?.kind}`)
          );
        if (context.clock.monotonic() > until) throw notStored(startLsn, endLsn, waitMs);
        await delay(POLL_MS, undefined, { signal: context.signal });
      }
    },
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

/** The view of a slot that this process holds. A temporary slot needs no cap: it ends with its connection. */
async function readView(connection: PostgresConnection, slot: string, signal: AbortSignal) {
  await using session = await Session.open(connection, connection.database, signal);
  const view = await readSlotView(session, slot);
  if (view.slot === null) throw new Failure('DATABASE_ERROR', 'the temporary slot of the backup does not exist');
  return { ...view, slotLimitBytes: view.slotLimitBytes ?? 0, slot: { ...view.slot, isActive: false } };
}
