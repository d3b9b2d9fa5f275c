import { type EngineContext, Failure } from '@lastgood/core';
import type { TargetInventory } from '@lastgood/protocol';
import pg from 'pg';
import type { PostgresConnection } from './connection-schema.ts';
import { connectVia, managedNamePattern } from './server.ts';
import { Session } from './session.ts';
import { endSessions, readAsideNote, refusePrepared, retryWhileInUse } from './swap.ts';

export type SetAside = NonNullable<TargetInventory['setAside']>[number];

const SET_ASIDE = managedNamePattern('(old|undone)');

/** The databases that restores and undos have set aside: in no backup, and on the disk until somebody drops them. */
export async function setAsideDatabases(session: Session): Promise<SetAside[]> {
  const found = await session.rows<{ name: string; size: string | null; note: string | null }>(
    "select datname as name, case when has_database_privilege(datname, 'connect') then pg_database_size(oid) end::text as size, shobj_description(oid, 'pg_database') as note from pg_database where datname ~ $1 order by 1",
    [SET_ASIDE],
  );
  return found.map(({ name, size, note }) => {
    const aside = readAsideNote(note);
    return {
      name,
      of: aside?.database ?? null,
      sizeBytes: size === null ? null : Number(size),
      restoreJobId: aside?.restoreJobId ?? null,
    };
  });
}

/** Drops a database that was set aside, and ends its sessions. Throws NOT_FOUND for any other name. */
export async function dropSetAside(
  connection: PostgresConnection,
  name: string,
  context: EngineContext,
): Promise<{ freedBytes: number | null }> {
  const from = connectVia(connection, name);
  await using session = await Session.open(from, from.database, context.signal);
  const found = (await setAsideDatabases(session)).find((each) => each.name === name);
  if (found === undefined)
    throw new Failure('NOT_FOUND', `no database "${name}" is set aside on this server`, {
      remedy: 'List them with `lastgood set-aside list`.',
    });
  await retryWhileInUse(session, async () => {
    await refusePrepared(session, name);
    await endSessions(session, name);
    await session.run(`drop database ${pg.escapeIdentifier(name)}`);
  });
  return { freedBytes: found.sizeBytes };
}
