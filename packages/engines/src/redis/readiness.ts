import type { ReadinessProbe } from '@lastgood/core';
import { RedisSession } from './client.ts';
import type { RedisConnection } from './connection-schema.ts';
import { readInfo } from './info.ts';
import { ReplyFailure } from './reply-failure.ts';
import { TransportFailure } from './transport.ts';

/** Nothing listens at the address. */
const NOTHING_LISTENS = new Set(['ECONNREFUSED', 'ENOENT']);
export const isNothingListening = (error: unknown): boolean =>
  error instanceof TransportFailure && NOTHING_LISTENS.has(error.transportCode);

/**
 * Whether the server serves: for the control of its service. True when it has loaded its data, false when nothing listens. Throws when it
 * is undetermined, such as while the server loads or when it refuses the password. Needs `+info`.
 */
export const readinessProbe =
  (connection: RedisConnection): ReadinessProbe =>
  async (signal) => {
    try {
      await using session = await RedisSession.open(connection, signal);
      const info = await readInfo(session, 'persistence');
      if (info.flag('loading')) throw new ReplyFailure('the server', 'INFO', 'LOADING');
      return true;
    } catch (error) {
      if (isNothingListening(error)) return false;
      throw error;
    }
  };
