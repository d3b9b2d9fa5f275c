import { pollUntil, type WaitingClock } from '@lastgood/host';
import type { RedisSession } from './client.ts';
import { readInfo } from './info.ts';

/** A server that waits for a slow disk holds writes back for this long at most, although it has acknowledged them. */
const LONGEST_DELAY_MS = 2_000;

export interface AofWritesOptions {
  readonly clock: WaitingClock;
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
}

/**
 * Waits until the writes that the server has acknowledged are in its append-only files, where they can be copied. Returns an instant (ms
 * since the epoch, by the clock of the server) up to which that is so: the recovery point of a copy that begins now. Under steady writes
 * the buffer may never be seen empty; then it is two seconds before the end of the wait. Needs `+info`.
 */
export async function waitForAofWrites(session: RedisSession, options: AofWritesOptions): Promise<number> {
  const { clock, signal, timeoutMs } = options;
  const observe = async (): Promise<{ at: number; isWritten: boolean }> => {
    const info = await readInfo(session, 'server', 'persistence');
    const at = Math.floor((info.number('server_time_usec') ?? 0) / 1_000);
    return { at, isWritten: info.number('aof_buffer_length') === 0 };
  };
  const check = async (): Promise<number | undefined> => {
    const { at, isWritten } = await observe();
    return isWritten ? at : undefined;
  };
  const until = clock.monotonic() + timeoutMs;
  const written = await pollUntil(check, { until, signal, clock, what: 'the wait for the append-only files' });
  return written ?? (await observe()).at - LONGEST_DELAY_MS;
}
