import type { Session } from './session.ts';

/**
 * Owners, grantees, who has settings of their own here, and their members, who have rights through them. PostgreSQL 16 gives
 * the creator of a role a membership that carries no rights; a superuser needs no membership.
 */
const ROLES = `with recursive needed (oid) as (
    select refobjid from pg_shdepend where refclassid = 'pg_authid'::regclass and (
      dbid = (select oid from pg_database where datname = current_database())
      or (classid = 'pg_database'::regclass and objid = (select oid from pg_database where datname = current_database())))
    union select setrole from pg_db_role_setting where setdatabase = (select oid from pg_database where datname = current_database())
    union select m.member from needed join pg_auth_members m on m.roleid = needed.oid join pg_roles r on r.oid = m.member
      where not r.rolsuper and (coalesce(to_jsonb(m)->>'inherit_option', 'true') = 'true' or coalesce(to_jsonb(m)->>'set_option', 'true') = 'true')
  ) select rolname as name from pg_roles join needed using (oid) where rolname !~ '^pg_' order by 1`;

/** The superuser that initdb makes. What it owns is in no list of dependencies: it is thought to be on every server. */
const BOOTSTRAP = 10;
/** What initdb itself makes has smaller numbers. */
const FIRST_OF_USERS = 16_384;

/** Catalogs of what a dump gives its owner, by the column that names it; and those that name a role otherwise. */
const OWNERS: readonly (readonly [catalog: string, owner: string])[] = [
  ['pg_class', 'relowner'],
  ['pg_namespace', 'nspowner'],
  ['pg_proc', 'proowner'],
  ['pg_type', 'typowner'],
  ['pg_operator', 'oprowner'],
  ['pg_opclass', 'opcowner'],
  ['pg_opfamily', 'opfowner'],
  ['pg_collation', 'collowner'],
  ['pg_conversion', 'conowner'],
  ['pg_language', 'lanowner'],
  ['pg_statistic_ext', 'stxowner'],
  ['pg_ts_config', 'cfgowner'],
  ['pg_ts_dict', 'dictowner'],
  ['pg_foreign_server', 'srvowner'],
  ['pg_publication', 'pubowner'],
  ['pg_default_acl', 'defaclrole'],
];
/** What only a superuser may own; ALTER ... OWNER refuses anybody else. */
const OWNERS_OF_RIGHT: readonly (readonly [catalog: string, owner: string])[] = [
  ['pg_event_trigger', 'evtowner'],
  ['pg_foreign_data_wrapper', 'fdwowner'],
];

const owned = ([catalog, owner]: readonly [string, string]): string =>
  `exists (select from ${catalog} o where o.${owner} = ${BOOTSTRAP} and o.oid >= ${FIRST_OF_USERS}
    and not exists (select from pg_depend d where d.classid = '${catalog}'::regclass and d.objid = o.oid and d.deptype in ('e', 'i')))`;
const OWNS_BOOTSTRAP = `select r.rolname as role, (${[
  'exists (select from pg_database where datname = current_database() and datdba = r.oid)',
  ...OWNERS.map(owned),
  // The creator of a large object chooses its number.
  `exists (select from pg_largeobject_metadata where lomowner = ${BOOTSTRAP})`,
  // A dump names the owner of this one when it is not pg_database_owner, as before PostgreSQL 15.
  `exists (select from pg_namespace where nspname = 'public' and nspowner = ${BOOTSTRAP})`,
  `exists (select from pg_user_mappings where umuser = ${BOOTSTRAP})`,
  `exists (select from pg_policy where ${BOOTSTRAP}::oid = any (polroles))`,
].join(' or ')}) as owns, (${[
  ...OWNERS_OF_RIGHT.map(owned),
  `exists (select from pg_subscription where subowner = ${BOOTSTRAP} and subdbid = (select oid from pg_database where datname = current_database()))`,
].join(' or ')}) as "superuserOnly" from pg_roles r where r.oid = ${BOOTSTRAP}`;

export interface NeededRoles {
  readonly roles: string[];
  /** The superuser that initdb made, when something here is its; `superuserOnly` when none but a superuser may own all of that. */
  readonly bootstrap: { readonly role: string; readonly superuserOnly: boolean } | null;
}

/** The roles that a restore of the session's database needs. */
export async function neededRoles(session: Session): Promise<NeededRoles> {
  const names = (await session.rows<{ name: string }>(ROLES)).map(({ name }) => name);
  const [first] = await session.rows<{ role: string; owns: boolean; superuserOnly: boolean }>(OWNS_BOOTSTRAP);
  if (first === undefined || (!first.owns && !first.superuserOnly)) return { roles: names, bootstrap: null };
  const { role, superuserOnly } = first;
  return { roles: [...new Set([...names, role])].sort(), bootstrap: { role, superuserOnly } };
}
