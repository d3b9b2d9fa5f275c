import { type EngineContext, Failure, type UndoResult } from '@lastgood/core';
import pg from 'pg';
import { z } from 'zod';
import { type PostgresConnection, Session } from './connection.ts';
import { OURS, outside } from './server.ts';

const id = pg.escapeIdentifier;
const text = pg.escapeLiteral;
const MAX_NAME_BYTES = 63;
const SWAP_TRIES = 5;

/** A name of ours beside `database`, no longer than PostgreSQL allows: `shop__lastgood_old_0123456789ab`. */
export function besideName(database: string, role: 'new' | 'old' | 'undone', jobId: string): string {
  const suffix = `${OURS}${role}_${jobId.replaceAll('-', '').slice(-12)}`;
  let base = database;
  while (Buffer.byteLength(base) > MAX_NAME_BYTES - suffix.length) base = [...base].slice(0, -1).join('');
  return `${base}${suffix}`;
}

/** What is noted on a database that was set aside, so that `undo` needs nothing but the server. */
const asideSchema = z.object({
  lastgood: z.literal('set aside'),
  restoreJobId: z.string(),
  database: z.string(),
  comment: z.string().nullable(),
});

async function endSessions(session: Session, database: string): Promise<void> {
  await session.rows(
    'select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()',
    [database],
  );
}

/** One transaction moves the old name aside and the new one in: there is no instant with neither. */
export async function swapIn(
  session: Session,
  fresh: string,
  database: string,
  aside: string | null,
  restoreJobId: string,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      if (aside !== null) await endSessions(session, database);
      await endSessions(session, fresh);
      await session.run('begin');
      if (aside !== null) {
        const { comment } = await session.one<{ comment: string | null }>(
          "select shobj_description(oid, 'pg_database') as comment from pg_database where datname = $1",
          [database],
        );
        await session.run(`alter database ${id(database)} rename to ${id(aside)}`);
        await session.run(
          `comment on database ${id(aside)} is ${text(JSON.stringify({ lastgood: 'set aside', restoreJobId, database, comment }))}`,
        );
      }
      await session.run(`alter database ${id(fresh)} rename to ${id(database)}`);
      await session.run('commit');
      return;
    } catch (error) {
      await session.run('rollback').catch(() => undefined);
      // A client that reconnected in between holds the name; its session is ended once more.
      if (attempt === SWAP_TRIES || !(error instanceof Failure) || !/being accessed by other users/.test(error.message))
        throw error;
    }
  }
}

/** Brings back what a swap restore set aside; what it replaced is kept under a name of ours. */
export async function undo(
  connection: PostgresConnection,
  restoreJobId: string,
  context: EngineContext,
): Promise<UndoResult> {
  const started = context.clock.monotonic();
  await using looking = await Session.open(connection, connection.database, context.signal);
  const kept = await looking.rows<{ name: string; note: string | null }>(
    "select datname as name, shobj_description(oid, 'pg_database') as note from pg_database where strpos(datname, $1) > 0",
    [`${OURS}old_`],
  );
  for (const { name, note } of kept) {
    const parsed = asideSchema.safeParse(parseJson(note));
    if (!parsed.success || parsed.data.restoreJobId !== restoreJobId) continue;
    const { database, comment } = parsed.data;
    const setAsideAs = besideName(database, 'undone', restoreJobId);
    const from = outside(connection, database);
    await using session = await Session.open(from, from.database, context.signal);
    await swapBack(session, name, database, setAsideAs, comment);
    return { command: 'undo', database, setAsideAs, durationMs: Math.round(context.clock.monotonic() - started) };
  }
  throw new Failure('UNDO_IMPOSSIBLE', `no database is kept aside by restore ${restoreJobId}`);
}

function parseJson(note: string | null): unknown {
  try {
    return JSON.parse(note ?? 'null');
  } catch {
    return null;
  }
}

async function swapBack(
  session: Session,
  aside: string,
  database: string,
  setAsideAs: string,
  comment: string | null,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await endSessions(session, database);
      await endSessions(session, aside);
      await session.run('begin');
      const present = await session.rows('select from pg_database where datname = $1', [database]);
      if (present.length > 0) await session.run(`alter database ${id(database)} rename to ${id(setAsideAs)}`);
      await session.run(`alter database ${id(aside)} rename to ${id(database)}`);
      await session.run(`comment on database ${id(database)} is ${comment === null ? 'null' : text(comment)}`);
      await session.run('commit');
      return;
    } catch (error) {
      await session.run('rollback').catch(() => undefined);
      if (attempt === SWAP_TRIES || !(error instanceof Failure) || !/being accessed by other users/.test(error.message))
        throw error;
    }
  }
}
