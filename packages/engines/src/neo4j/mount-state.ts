import { setTimeout as delay } from 'node:timers/promises';
import { Failure, type ReadinessProbe } from '@lastgood/core';
import { pingBolt } from './bolt-handshake.ts';
import { BoltSession, type BoltTarget } from './bolt-session.ts';
import { SYSTEM_DATABASE } from './store-folders.ts';

const PING_MS = 4_000;
const POLL_MS = 100;

/**
 * What became of a database at the start of its server: `failed` is one that the server could not mount. The reason is in the log of
 * the server alone, for it may hold data.
 */
export type MountState = 'online' | 'failed';

/**
 * Waits until a database can be queried, or its server has given up on it. A server that has started, and even one that accepts logins, may
 * have its databases offline. Throws JOB_DEADLINE after `timeoutMs`, and the errors of a session.
 */
export async function waitUntilMounted(
  target: BoltTarget,
  database: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<MountState> {
  const until = performance.now() + timeoutMs;
  await using session = await BoltSession.open(target, signal);
  for (;;) {
    const [row] = await session.rows(
      SYSTEM_DATABASE,
      'SHOW DATABASES YIELD name, currentStatus, statusMessage WHERE name = $database RETURN currentStatus AS status, statusMessage AS message',
      { database },
      timeoutMs,
    );
    if (row?.['status'] === 'online') {
      if (database !== SYSTEM_DATABASE) await session.rows(database, 'RETURN 1', {}, timeoutMs);
      return 'online';
    }
    // A server that has given up gives a reason; one that is still trying does not.
    if (typeof row?.['message'] === 'string' && row['message'] !== '') return 'failed';
    if (performance.now() > until)
      throw new Failure('JOB_DEADLINE', `database "${database}" was not mounted within ${timeoutMs} ms`);
    await delay(POLL_MS, undefined, { signal });
  }
}

/**
 * For the control of the service: whether the server accepts connections. Only a refused connection means that it does not. A server that
 * requires TLS does not continue a handshake in plain text, and is not distinguished from another server there.
 */
export const boltReadiness =
  ({ host, port, tls }: { readonly host: string; readonly port: number; readonly tls?: unknown }): ReadinessProbe =>
  async (signal) => {
    const answer = await pingBolt(host, port, PING_MS, signal);
    if (answer === 'bolt' || answer === 'refused') return answer === 'bolt';
    if (answer === 'not-bolt' && tls !== undefined) return true;
    throw new Failure('DATABASE_UNREACHABLE', `cannot tell whether Neo4j runs on ${host}:${port}: ${answer}`);
  };
