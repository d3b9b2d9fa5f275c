import { setTimeout as delay } from 'node:timers/promises';
import { type EngineContext, Failure, type RestoreTestLimits } from '@lastgood/core';
import { sweepSandboxes } from '@lastgood/host';
import pg from 'pg';
import type { PostgresConnection } from './connection-schema.ts';
import { hasSqlstate } from './messages/server-failure.ts';
import { unmarkTemplate } from './properties.ts';
import { sweepScratch } from './scratch-server.ts';
import { managedNamePattern } from './server.ts';
import { Session } from './session.ts';
import { asideName, refusePrepared } from './swap.ts';

const id = pg.escapeIdentifier;
const DROP_TRIES = 20;
const OBJECT_IN_USE = '55006';
const DROP_WITHIN_MS = 10 * 60_000;
/** The first half of the key of our advisory locks; the second is of the job: "lgnw". */
const LOCK_CLASS = 0x6c_67_6e_77;
/** The end of a name of ours, which identifies the job. */
const SUFFIX_CHARS = 12;

const lockKeyOf = (suffix: string): number => Number.parseInt(suffix.slice(-8), 16);

/**
 * For as long as the session lives every agent's sweep leaves the half-made database of this job alone: which jobs run is known to
 * its own agent only. Two jobs whose keys meet share the lock, and at worst a sweep comes later.
 */
export async function lockStagingDatabase(session: Session, jobId: string): Promise<void> {
  const key = lockKeyOf(asideName('', 'new', jobId));
  await session.rows('select pg_advisory_lock_shared($1, $2)', [LOCK_CLASS, key | 0]);
}

/** The locks of all databases are seen here: the sessions of two agents may stand in different ones. */
async function isHeld(session: Session, suffix: string): Promise<boolean> {
  const { held } = await session.one<{ held: boolean }>(
    "select exists (select from pg_locks where locktype = 'advisory' and objsubid = 2 and classid::bigint = $1 and objid::bigint = $2) as held",
    [LOCK_CLASS, lockKeyOf(suffix)],
  );
  return held;
}

/**
 * A database with a subscription cannot be dropped. The slot on the publisher belongs to the source's subscription and stays. Event
 * triggers that were restored are turned off first: they may forbid it.
 */
async function dropSubscriptions(connection: PostgresConnection, session: Session, name: string): Promise<void> {
  const subscriptions = await session.rows<{ name: string }>(
    'select s.subname as name from pg_subscription s join pg_database d on d.oid = s.subdbid where d.datname = $1',
    [name],
  );
  if (subscriptions.length === 0) return;
  await using inside = await Session.open(connection, name, AbortSignal.timeout(DROP_WITHIN_MS));
  for (const trigger of await inside.rows<{ name: string }>(
    "select evtname as name from pg_event_trigger where evtenabled <> 'D'",
  ))
    await inside.run(`alter event trigger ${id(trigger.name)} disable`);
  for (const subscription of subscriptions) {
    await inside.run(`alter subscription ${id(subscription.name)} disable`);
    await inside.run(`alter subscription ${id(subscription.name)} set (slot_name = none)`);
    await inside.run(`drop subscription ${id(subscription.name)}`);
  }
}

async function dropOurs(connection: PostgresConnection, session: Session, name: string): Promise<void> {
  await dropSubscriptions(connection, session, name);
  for (let attempt = 1; ; attempt += 1) {
    try {
      await unmarkTemplate(session, name);
      await session.run(`drop database if exists ${id(name)} with (force)`);
      return;
    } catch (error) {
      if (attempt === DROP_TRIES || !hasSqlstate(error, OBJECT_IN_USE)) throw error;
      await refusePrepared(session, name);
      await delay(500);
    }
  }
}

/** Drops the database of a restore that ended with `cause`, and gives the error to throw: the cause, with what could not be cleared away. */
export async function dropStagingDatabase(
  connection: PostgresConnection,
  name: string,
  cause: unknown,
): Promise<unknown> {
  try {
    await using cleaner = await Session.open(connection, connection.database, AbortSignal.timeout(DROP_WITHIN_MS));
    await dropOurs(connection, cleaner, name);
    return cause;
  } catch (error) {
    if (!(cause instanceof Failure) || !(error instanceof Error)) return cause;
    const left = `${cause.message}; its database "${name}" could not be removed (${error.message})`;
    return new Failure(cause.code, left, { cause, remedy: cause.remedy });
  }
}

/** Whether nobody, in no agent, works on it; waits a little for sessions that are about to end. */
async function isAbandoned(
  session: Session,
  name: string,
  suffix: string,
  context: EngineContext,
  runningJobs: () => ReadonlySet<string>,
): Promise<boolean> {
  for (let attempt = 1; attempt <= DROP_TRIES; attempt += 1) {
    if ([...runningJobs()].some((jobId) => name.endsWith(asideName('', 'new', jobId)))) return false;
    if (await isHeld(session, suffix)) return false;
    // Asked after the lock: a restore gives it up when its database has its last name, or is gone.
    const { there, busy } = await session.one<{ there: boolean; busy: boolean }>(
      'select exists (select from pg_database where datname = $1) as there, exists (select from pg_stat_activity where datname = $1) as busy',
      [name],
    );
    if (!there) return false;
    if (!busy) return true;
    await delay(500, undefined, { signal: context.signal });
  }
  return false;
}

/**
 * After a crash: half-restored databases of no running job of any agent that nobody is connected to, and scratch servers without
 * an agent. What cannot be removed is logged, and does not stop the rest.
 */
export async function sweep(
  connection: PostgresConnection,
  limits: RestoreTestLimits,
  context: EngineContext,
  runningJobs: () => ReadonlySet<string>,
): Promise<string[]> {
  // First the processes, so that none of them changes what is removed.
  const swept = [...(await sweepSandboxes(limits)), ...(await sweepScratch(connection))];
  await using session = await Session.open(connection, connection.database, context.signal);
  for (const { name } of await session.rows<{ name: string }>(
    'select datname as name from pg_database where datname ~ $1',
    [managedNamePattern('new')],
  )) {
    const suffix = name.slice(-SUFFIX_CHARS);
    if (!(await isAbandoned(session, name, suffix, context, runningJobs))) continue;
    try {
      await dropOurs(connection, session, name);
      swept.push(`half-restored database ${name}`);
    } catch (error) {
      context.signal.throwIfAborted();
      if (!(error instanceof Failure)) throw error;
      context.log(`half-restored database ${name} could not be removed: ${error.message}`);
    }
  }
  return swept;
}
