import { setTimeout as delay } from 'node:timers/promises';
import type { EngineContext } from '@lastgood/core';
import pg from 'pg';
import { type PostgresConnection, Session } from './connection.ts';
import { unmarkTemplate } from './properties.ts';
import { sweepScratch } from './scratch-server.ts';
import { OURS } from './server.ts';
import { besideName } from './swap.ts';

const id = pg.escapeIdentifier;
const DROP_TRIES = 20;

export async function dropOurs(session: Session, name: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await unmarkTemplate(session, name);
      await session.run(`drop database if exists ${id(name)} with (force)`);
      return;
    } catch (error) {
      if (attempt === DROP_TRIES) throw error;
      await delay(500);
    }
  }
}

/** After a crash: half-restored databases of no running job that nobody is connected to, and scratch servers without an agent. */
export async function sweep(
  connection: PostgresConnection,
  context: EngineContext,
  runningJobs: () => ReadonlySet<string>,
): Promise<string[]> {
  const swept = await sweepScratch(connection);
  await using session = await Session.open(connection, connection.database, context.signal);
  for (const { name } of await session.rows<{ name: string }>(
    'select datname as name from pg_database where strpos(datname, $1) > 0',
    [`${OURS}new_`],
  )) {
    for (let attempt = 1; attempt <= DROP_TRIES; attempt += 1) {
      if ([...runningJobs()].some((jobId) => name.endsWith(besideName('', 'new', jobId)))) break;
      const { busy } = await session.one<{ busy: boolean }>(
        'select exists (select from pg_stat_activity where datname = $1) as busy',
        [name],
      );
      if (!busy) {
        await dropOurs(session, name);
        swept.push(`half-restored database ${name}`);
        break;
      }
      await delay(500, undefined, { signal: context.signal });
    }
  }
  return swept;
}
