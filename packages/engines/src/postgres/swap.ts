import { type EngineContext, Failure, type UndoResult } from '@lastgood/core';
import pg from 'pg';
import { z } from 'zod';
import type { PostgresConnection } from './connection-schema.ts';
import { hasSqlstate, isRefusal } from './messages/server-failure.ts';
import { connectVia, MANAGED_MARK, managedNamePattern } from './server.ts';
import { Session } from './session.ts';

const id = pg.escapeIdentifier;
const text = pg.escapeLiteral;
const MAX_NAME_BYTES = 63;
const SWAP_TRIES = 5;
const OBJECT_IN_USE = '55006';

/** A name of ours beside `database`, no longer than PostgreSQL allows: `shop__lastgood_old_0123456789ab`. */
export function asideName(database: string, role: 'new' | 'old' | 'undone', jobId: string): string {
  const suffix = `${MANAGED_MARK}${role}_${jobId.replaceAll('-', '').slice(-12)}`;
  let base = database;
  while (Buffer.byteLength(base) > MAX_NAME_BYTES - suffix.length) base = [...base].slice(0, -1).join('');
  return `${base}${suffix}`;
}

const grantsSchema = z.array(z.object({ privilege: z.string().regex(/^[A-Z ]+$/), grantable: z.boolean() }));
/**
 * What is noted on a database that was set aside, so that `undo` needs nothing but the server. Its owner can change the note, so
 * that the agent's role owns it meanwhile; `owner` is who gets it back, absent where the agent could not take it.
 */
const asideSchema = z.object({
  lastgood: z.literal('set aside'),
  restoreJobId: z.string(),
  database: z.string(),
  comment: z.string().nullable(),
  owner: z.string().nullable().default(null),
  /** What the agent's own role was granted: a change of the owner there and back makes it the owner's. */
  grants: grantsSchema.default([]),
});
type Aside = z.infer<typeof asideSchema>;

/** The note of a database that was set aside; undefined when it is not there, or was changed. */
export const readAsideNote = (note: string | null): Aside | undefined => asideSchema.safeParse(parseJson(note)).data;

/**
 * Ends what others do in a database, as far as the role may; a statement that needs the database for itself fails if somebody is left. PostgreSQL itself ends
 * the workers of autovacuum for RENAME and DROP, and parallel workers end with their leaders.
 */
export async function endSessions(session: Session, database: string): Promise<void> {
  const others = await session.rows<{ pid: number }>(
    "select pid from pg_stat_activity where datname = $1 and pid <> pg_backend_pid() and coalesce(backend_type, '') not in ('autovacuum worker', 'parallel worker')",
    [database],
  );
  for (const { pid } of others)
    await session.rows('select pg_terminate_backend($1)', [pid]).catch((error: unknown) => {
      if (!isRefusal(error)) throw error;
    });
}

/** TARGET_BUSY for a database that prepared transactions hold: to end sessions does not end them. */
export async function refusePrepared(session: Session, database: string): Promise<void> {
  const held = await session.rows<{ gid: string }>('select gid from pg_prepared_xacts where database = $1 limit 5', [
    database,
  ]);
  if (held.length === 0) return;
  const names = held.map(({ gid }) => `'${gid}'`).join(', ');
  throw new Failure('TARGET_BUSY', `database "${database}" is held by prepared transactions: ${names}`, {
    remedy: 'Commit or roll back what was prepared (COMMIT PREPARED, ROLLBACK PREPARED), then try again.',
  });
}

/** Makes the agent's role the owner, if it could give that back; returns whether it did. */
async function takeOwnership(session: Session, database: string, owner: string): Promise<boolean> {
  await session.run('savepoint owner');
  try {
    for (const role of ['current_user', id(owner), 'current_user'])
      await session.run(`alter database ${id(database)} owner to ${role}`);
    return true;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    await session.run('rollback to savepoint owner');
    return false;
  }
}

/** Inside the transaction of the swap: the old database gets its other name, our owner and the note for `undo`. */
async function setAside(session: Session, database: string, aside: string, restoreJobId: string): Promise<void> {
  const { comment, owner, mine } = await session.one<{ comment: string | null; owner: string; mine: boolean }>(
    "select shobj_description(oid, 'pg_database') as comment, pg_get_userbyid(datdba) as owner, pg_get_userbyid(datdba) = current_user as mine from pg_database where datname = $1",
    [database],
  );
  const grants = await session.rows<Aside['grants'][number]>(
    'select a.privilege_type as privilege, a.is_grantable as grantable from pg_database d, lateral aclexplode(d.datacl) a where d.datname = $1 and pg_get_userbyid(a.grantee) = current_user',
    [database],
  );
  await session.run(`alter database ${id(database)} rename to ${id(aside)}`);
  const taken = !mine && (await takeOwnership(session, aside, owner));
  const note: Aside = {
    lastgood: 'set aside',
    restoreJobId,
    database,
    comment,
    owner: taken ? owner : null,
    grants: taken ? grants : [],
  };
  await session.run(`comment on database ${id(aside)} is ${text(JSON.stringify(note))}`);
}

/** One transaction moves the old name aside and the new one in: there is no instant with neither. */
export async function swapIn(
  session: Session,
  staging: string,
  database: string,
  aside: string | null,
  restoreJobId: string,
): Promise<void> {
  await retryWhileInUse(session, async () => {
    if (aside !== null) {
      await refusePrepared(session, database);
      await endSessions(session, database);
    }
    await endSessions(session, staging);
    await session.run('begin');
    if (aside !== null) await setAside(session, database, aside, restoreJobId);
    await session.run(`alter database ${id(staging)} rename to ${id(database)}`);
    await session.run('commit');
  });
}

/** A client that reconnected in between holds the name: its session is ended once more. */
export async function retryWhileInUse(session: Session, work: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await work();
      return;
    } catch (error) {
      await session.run('rollback').catch(() => undefined);
      if (attempt === SWAP_TRIES || !hasSqlstate(error, OBJECT_IN_USE)) throw error;
    }
  }
}

interface Kept {
  readonly name: string;
  readonly aside: Aside;
  readonly owner: string;
  /** `ours`: it belongs to us or to a superuser; `theirs`: to the owner of the database that it would replace; `none`: to another role. */
  readonly trust: 'ours' | 'theirs' | 'none';
}

/**
 * What fits a restore by name and note. A role that may create databases can copy both for a database of another name: so it must be
 * ours, or belong at least to the owner of the database in whose place it would come.
 */
async function keptBy(session: Session, restoreJobId: string): Promise<Kept[]> {
  const found = await session.rows<{ name: string; note: string | null; owner: string; ours: boolean }>(
    `select d.datname as name, shobj_description(d.oid, 'pg_database') as note, r.rolname as owner, r.rolsuper or r.rolname = current_user as ours
     from pg_database d join pg_roles r on r.oid = d.datdba where d.datname ~ $1`,
    [managedNamePattern('old')],
  );
  const owners = new Map(
    (
      await session.rows<{ name: string; owner: string }>(
        'select datname as name, pg_get_userbyid(datdba) as owner from pg_database',
      )
    ).map(({ name, owner }) => [name, owner]),
  );
  return found.flatMap(({ name, note, owner, ours: trusted }) => {
    const aside = readAsideNote(note);
    // The name in the note must lead to the one that this restore gave: the owner of a database can write its note.
    if (aside?.restoreJobId !== restoreJobId || asideName(aside.database, 'old', restoreJobId) !== name) return [];
    const theirs = owners.get(aside.database) === owner;
    return [{ name, aside, owner, trust: trusted ? 'ours' : theirs ? 'theirs' : 'none' }];
  });
}

/** Brings back what a swap restore set aside; what it replaced is kept under a name of ours. */
export async function undo(
  connection: PostgresConnection,
  restoreJobId: string,
  context: EngineContext,
): Promise<UndoResult> {
  const started = context.clock.monotonic();
  await using probe = await Session.open(connection, connection.database, context.signal);
  const kept = await keptBy(probe, restoreJobId);
  const of = (trust: Kept['trust']): Kept[] => kept.filter((each) => each.trust === trust);
  const [first, second] = of('ours').length > 0 ? of('ours') : of('theirs');
  const [foreign] = of('none');
  if (first === undefined && foreign !== undefined)
    throw new Failure(
      'UNDO_IMPOSSIBLE',
      `"${foreign.name}" says that restore ${restoreJobId} set it aside, but its owner "${foreign.owner}" is neither the agent's role, nor a superuser, nor the owner of "${foreign.aside.database}"`,
      {
        remedy:
          "When it is the database from before the restore, make it the agent role's (ALTER DATABASE ... OWNER TO), then undo again.",
      },
    );
  if (first === undefined) throw await explainNothingKept(probe, restoreJobId);
  if (second !== undefined)
    throw new Failure(
      'UNDO_IMPOSSIBLE',
      `more than one database says that restore ${restoreJobId} set it aside: "${first.name}", "${second.name}"`,
      { remedy: 'Drop or rename the one that is not from the restore, then undo again.' },
    );
  const { database } = first.aside;
  const setAsideAs = asideName(database, 'undone', restoreJobId);
  const from = connectVia(connection, database);
  await using session = await Session.open(from, from.database, context.signal);
  await swapBack(session, first.name, first.aside, setAsideAs);
  return { command: 'undo', into: database, setAsideAs, durationMs: Math.round(context.clock.monotonic() - started) };
}

/** Why nothing is set aside any more: the restore was undone, or somebody dropped or renamed the database. */
async function explainNothingKept(session: Session, restoreJobId: string): Promise<Failure> {
  const suffix = asideName('', 'undone', restoreJobId);
  const undone = (
    await session.rows<{ name: string }>('select datname as name from pg_database where datname ~ $1', [
      managedNamePattern('undone'),
    ])
  ).find(({ name }) => name.endsWith(suffix));
  if (undone !== undefined)
    return new Failure('UNDO_IMPOSSIBLE', `restore ${restoreJobId} was undone already`, {
      remedy: `The database from before the restore is in place; the restored one was set aside as "${undone.name}". There is nothing to do.`,
    });
  return new Failure('UNDO_IMPOSSIBLE', `no database that restore ${restoreJobId} set aside is left`, {
    remedy:
      'It was dropped or renamed. Restore a backup beside the present database (`--to-new`) and compare before you replace anything.',
  });
}

function parseJson(note: string | null): unknown {
  try {
    return JSON.parse(note ?? 'null');
  } catch {
    return null;
  }
}

async function swapBack(session: Session, name: string, aside: Aside, setAsideAs: string): Promise<void> {
  const { database, comment, owner, grants } = aside;
  await retryWhileInUse(session, async () => {
    await refusePrepared(session, database);
    await endSessions(session, database);
    await endSessions(session, name);
    await session.run('begin');
    const present = await session.rows('select from pg_database where datname = $1', [database]);
    if (present.length > 0) await session.run(`alter database ${id(database)} rename to ${id(setAsideAs)}`);
    await session.run(`alter database ${id(name)} rename to ${id(database)}`);
    await session.run(`comment on database ${id(database)} is ${comment === null ? 'null' : text(comment)}`);
    // A role that was dropped meanwhile gets nothing back.
    if (owner !== null && (await session.rows('select from pg_roles where rolname = $1', [owner])).length > 0) {
      await session.run(`alter database ${id(database)} owner to ${id(owner)}`);
      for (const { privilege, grantable } of grants)
        await session.run(
          `grant ${privilege} on database ${id(database)} to current_user${grantable ? ' with grant option' : ''}`,
        );
    }
    await session.run('commit');
  });
}
