import type { Session } from './session.ts';

/** What initdb itself makes has smaller numbers. */
const FIRST_OF_USERS = 16_384;

/**
 * Roles, superusers aside, that own functions, or tables and domains whose rows are checked or computed when they come in: a check
 * may call functions of PostgreSQL itself that only a superuser should. Which function calls which cannot be known: all count.
 */
const OWNERS = `select distinct r.rolname as name from pg_roles r join (
    select proowner as owner from pg_proc p where p.oid >= ${FIRST_OF_USERS}
      and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype in ('e', 'i'))
    union select c.relowner from pg_class c where c.oid >= ${FIRST_OF_USERS} and c.relpersistence <> 't' and (
      exists (select from pg_constraint k where k.conrelid = c.oid and k.contype = 'c')
      or exists (select from pg_attribute a where a.attrelid = c.oid and a.attgenerated <> '' and not a.attisdropped)
      or exists (select from pg_partitioned_table t where t.partrelid = c.oid and t.partexprs is not null))
    union select t.typowner from pg_type t where exists (select from pg_constraint k where k.contypid = t.oid and k.oid >= ${FIRST_OF_USERS})
  ) o on o.owner = r.oid where not r.rolsuper order by 1`;

/** Whose code a load of the session's database may run with the rights of the role that loads it. */
export async function codeOwners(session: Session): Promise<string[]> {
  return (await session.rows<{ name: string }>(OWNERS)).map(({ name }) => name);
}
