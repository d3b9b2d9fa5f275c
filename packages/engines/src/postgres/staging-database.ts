import { Failure } from '@lastgood/core';
import pg from 'pg';
import { createDatabase, type Properties } from './properties.ts';
import type { Session } from './session.ts';

const id = pg.escapeIdentifier;

/**
 * Makes the database of a restore, to which nobody but its owner and superusers may connect while it is loaded: by default all
 * may, and the grants on what is in it are there long before those on the database itself.
 */
export async function createLockedDatabase(
  session: Session,
  properties: Properties,
  name: string,
  tablespace: string | null,
  major: number,
): Promise<void> {
  await session.run(`${createDatabase(properties, name, tablespace, major)} connection limit 0`);
  await session.run('begin');
  await session.run(`revoke connect, temporary on database ${id(name)} from public`);
  await session.run(`alter database ${id(name)} connection limit -1`);
  await giveToOwner(session, properties.owner, name);
  await session.run('commit');
}

/**
 * To make somebody else the owner of something in the schema public, an agent that is not a superuser needs that role to own the
 * database. A superuser does not, and an owner who is not in yet can plant nothing that his load would run.
 */
async function giveToOwner(session: Session, owner: string, name: string): Promise<void> {
  const [role] = await session.rows<{ give: boolean }>(
    "select not (select rolsuper from pg_roles where rolname = current_user) and rolname <> current_user and pg_has_role(oid, 'usage') as give from pg_roles where rolname = $1",
    [owner],
  );
  if (role?.give !== true) return;
  await session.run('savepoint owner');
  try {
    await session.run(`alter database ${id(name)} owner to ${id(owner)}`);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    await session.run('rollback to savepoint owner');
  }
}
