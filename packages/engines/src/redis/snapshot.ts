import { Failure, unreachable } from '@lastgood/core';
import { pollUntil, type WaitingClock } from '@lastgood/host';
import type { RedisSession } from './client.ts';
import {
  afterRequest,
  beginSnapshot,
  decideSnapshot,
  type SaveObservation,
  type SnapshotDecision,
  type SnapshotFailure,
  type SnapshotState,
} from './decide-snapshot.ts';
import { readInfo } from './info.ts';
import { hasReplyCode } from './reply-failure.ts';

export interface Snapshot {
  /** When it was asked for, in seconds of the server's clock: the save began then or later. */
  readonly notBefore: number;
  /** When the save ended, in seconds of the server's clock. */
  readonly savedAt: number;
  readonly runId: string;
}
export interface SnapshotOptions {
  readonly clock: WaitingClock;
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  /** Called for each wait. */
  readonly onWait?: (reason: Extract<SnapshotDecision, { do: 'wait' }>['for']) => void;
}

/**
 * The server stamps its saves with time(), which reads a coarse clock: up to a tick, on a busy virtual machine more, behind the exact
 * clock of server_time_usec. Around the turn of a second a save that began later carries the second before.
 */
const COARSE_CLOCK_LAG_US = 500_000;

/** What INFO reports about saves now. */
export async function observeSaves(session: RedisSession): Promise<SaveObservation> {
  const info = await readInfo(session, 'server', 'persistence');
  const microseconds = info.number('server_time_usec');
  return {
    runId: info.text('run_id') ?? '',
    serverTime: microseconds === null ? 0 : Math.floor((microseconds - COARSE_CLOCK_LAG_US) / 1_000_000),
    saves: info.number('rdb_saves'),
    lastSaveAt: info.number('rdb_last_save_time') ?? 0,
    lastSaveFailed: info.text('rdb_last_bgsave_status') !== 'ok',
    isSaving: info.flag('rdb_bgsave_in_progress'),
    hasOtherChild:
      info.flag('aof_rewrite_in_progress') ||
      info.flag('module_fork_in_progress') ||
      info.flag('slot_migration_fork_in_progress'),
    isLoading: info.flag('loading') || info.flag('async_loading'),
  };
}

/**
 * Lets the server write its RDB file and resolves when that has succeeded. A save that runs already is waited for, and then a new one
 * is taken. Fails with TOOL_FAILED when the save failed, SOURCE_CHANGED when the server was restarted meanwhile, JOB_DEADLINE after
 * `timeoutMs`. Needs `+info` and `+bgsave`.
 */
export async function takeSnapshot(session: RedisSession, options: SnapshotOptions): Promise<Snapshot> {
  const { clock, signal, timeoutMs } = options;
  let state: SnapshotState | null = null;
  const step = async (): Promise<Snapshot | undefined> => {
    const now = await observeSaves(session);
    state ??= beginSnapshot(now);
    const decision = decideSnapshot(state, now);
    switch (decision.do) {
      case 'finish':
        return { notBefore: decision.notBefore, savedAt: decision.savedAt, runId: now.runId };
      case 'fail':
        throw failureOf(decision.reason);
      case 'request': {
        const isAccepted = await requestSave(session);
        state = afterRequest(state, now, isAccepted, await observeSaves(session));
        return undefined;
      }
      case 'wait':
        options.onWait?.(decision.for);
        return undefined;
      default:
        return unreachable(decision);
    }
  };
  const until = clock.monotonic() + timeoutMs;
  const snapshot = await pollUntil(step, { until, signal, clock, what: 'the snapshot' });
  if (snapshot !== undefined) return snapshot;
  throw new Failure('JOB_DEADLINE', `the server did not write a snapshot within ${timeoutMs} ms`, {
    remedy: 'Look for a slow disk or another save on the server, or raise snapshotMs in the connection of the target.',
  });
}

/** Returns false when the server refused, as it does while another save runs. */
async function requestSave(session: RedisSession): Promise<boolean> {
  try {
    await session.call('BGSAVE', 'SCHEDULE');
    return true;
  } catch (error) {
    if (hasReplyCode(error, 'ERR')) return false;
    throw error;
  }
}

function failureOf(reason: SnapshotFailure): Failure {
  switch (reason) {
    case 'restarted':
      return new Failure('SOURCE_CHANGED', 'the server was restarted while it wrote its snapshot', {
        remedy: 'Find out why the server was restarted, then send the job again.',
      });
    case 'save-failed':
      return new Failure('TOOL_FAILED', 'the server could not write its snapshot (rdb_last_bgsave_status is err)', {
        remedy:
          'Read the log of the server: mostly its data folder is full or not writable, or there is too little memory to fork (vm.overcommit_memory).',
      });
    case 'refused':
      return new Failure('DATABASE_REFUSED', 'the server refuses BGSAVE', {
        remedy: 'Check that BGSAVE was not renamed or disabled by rename-command.',
      });
    case 'unsupported':
      return new Failure(
        'TOOL_VERSION',
        'the server does not count its saves, so that a failed one cannot be recognized',
        {
          remedy: 'Upgrade to Redis 7.0 or newer, or to Valkey.',
        },
      );
  }
}
