import pg from 'pg';
import { z } from 'zod';
import type { Session } from './connection.ts';

/** What belongs to a database but not to its dump: how it was made, its owner, limits, settings, grants and comment. */
export const propertiesSchema = z.object({
  format: z.literal(1),
  database: z.string(),
  owner: z.string(),
  encoding: z.string(),
  collate: z.string(),
  ctype: z.string(),
  provider: z.enum(['libc', 'icu', 'builtin']),
  icuLocale: z.string().nullable(),
  icuRules: z.string().nullable().default(null),
  connectionLimit: z.int(),
  allowConnections: z.boolean(),
  isTemplate: z.boolean(),
  tablespace: z.string(),
  comment: z.string().nullable(),
  settings: z.array(z.object({ role: z.string().nullable(), setting: z.string() })),
  /** Null: the defaults of a new database. */
  grants: z
    .array(z.object({ grantee: z.string().nullable(), privilege: z.string(), grantable: z.boolean() }))
    .nullable(),
});
export type Properties = z.infer<typeof propertiesSchema>;

const LOCALE = (major: number): string =>
  major >= 17
    ? 'd.datlocprovider::text as provider, d.datlocale as locale'
    : major >= 15
      ? 'd.datlocprovider::text as provider, d.daticulocale as locale'
      : "'c'::text as provider, null::text as locale";

const ICU_RULES = (major: number): string => (major >= 16 ? 'd.daticurules' : 'null::text');

/** Reads the properties of the session's database. */
export async function readProperties(session: Session, major: number): Promise<Properties> {
  const row = await session.one<
    Record<string, never>
  >(`select d.oid::text as oid, d.datname as database, pg_get_userbyid(d.datdba) as owner, pg_encoding_to_char(d.encoding) as encoding, d.datcollate as collate,
    d.datctype as ctype, ${LOCALE(major)}, ${ICU_RULES(major)} as "icuRules", d.datconnlimit as "connectionLimit", d.datallowconn as "allowConnections", d.datistemplate as "isTemplate", t.spcname as tablespace,
    shobj_description(d.oid, 'pg_database') as comment, d.datacl is null as defaults from pg_database d join pg_tablespace t on t.oid = d.dattablespace where d.datname = current_database()`);
  const settings = await session.rows<{ role: string | null; setting: string }>(
    'select r.rolname as role, unnest(s.setconfig) as setting from pg_db_role_setting s left join pg_roles r on r.oid = s.setrole where s.setdatabase = $1 order by 1 nulls first, 2',
    [row['oid']],
  );
  const grants = await session.rows<{ grantee: string | null; privilege: string; grantable: boolean }>(
    `select r.rolname as grantee, a.privilege_type as privilege, a.is_grantable as grantable from pg_database d, lateral aclexplode(d.datacl) a left join pg_roles r on r.oid = a.grantee
     where d.datname = current_database() order by 1 nulls first, 2`,
  );
  const providers = { c: 'libc', i: 'icu', b: 'builtin' } as const;
  const {
    oid: _oid,
    locale,
    defaults,
    provider,
    ...rest
  } = row as unknown as { oid: string; locale: string | null; defaults: boolean; provider: keyof typeof providers };
  return propertiesSchema.parse({
    format: 1,
    ...rest,
    provider: providers[provider],
    icuLocale: locale,
    settings,
    grants: defaults ? null : grants,
  });
}

const id = pg.escapeIdentifier;
const text = pg.escapeLiteral;

/** How a restored database is made differently from its source, for people; empty when it is not. */
export function differingProperties(source: Properties, found: Properties): string[] {
  const compared = ['encoding', 'collate', 'ctype', 'provider', 'icuLocale'] as const;
  return compared
    .filter((key) => source[key] !== found[key])
    .map((key) => `${key} is ${found[key] ?? 'none'}, the source had ${source[key] ?? 'none'}`);
}

/** CREATE DATABASE with the encoding and locale of the source; the sole statement of its call. Null: the server's default tablespace. */
export function createDatabase(properties: Properties, name: string, tablespace: string | null, major: number): string {
  // Left out, the provider would be that of the server's own databases.
  const libc = major >= 15 ? ' locale_provider libc' : '';
  const locale =
    properties.provider === 'libc'
      ? libc
      : ` locale_provider ${properties.provider}${properties.icuLocale === null ? '' : ` ${properties.provider === 'icu' ? 'icu_locale' : 'builtin_locale'} ${text(properties.icuLocale)}`}${properties.icuRules === null ? '' : ` icu_rules ${text(properties.icuRules)}`}`;
  const place = tablespace === null ? '' : ` tablespace ${id(tablespace)}`;
  return `create database ${id(name)} template template0 encoding ${text(properties.encoding)} lc_collate ${text(properties.collate)} lc_ctype ${text(properties.ctype)}${locale}${place}`;
}

/**
 * The names in a list as the server stores it, or undefined when it is none: what stands in quotes as it is, with doubled quotes
 * halved; bare words between commas (SplitGUCList of pg_dump).
 */
function namesOfList(list: string): string[] | undefined {
  const names: string[] = [];
  const element = /\s*(?:"((?:[^"]|"")*)"|([^\s,"]+))\s*(,|$)/y;
  for (let at = 0; at < list.length || names.length === 0; at = element.lastIndex) {
    element.lastIndex = at;
    const found = element.exec(list);
    if (found === null) return undefined;
    names.push(found[1]?.replaceAll('""', '"') ?? found[2] ?? '');
    if (found[3] === '' && element.lastIndex < list.length) return undefined;
    if (found[3] === ',' && element.lastIndex === list.length) return undefined;
    if (found[3] === '') break;
  }
  return names;
}

/** The value of a setting as SQL. Whatever an owner stored is text of one literal each: never a statement. */
function settingText(key: string, value: string): string {
  if (!listSettings.has(key.toLowerCase()) || value === '') return text(value);
  return (namesOfList(value) ?? [value]).map(text).join(', ');
}

/** The statements that give a restored database the properties of the source. Roles that are not there are left out by the caller's list. */
export function applyProperties(properties: Properties, name: string, roles: ReadonlySet<string>): string[] {
  const statements: string[] = [];
  const database = id(name);
  if (properties.comment !== null) statements.push(`comment on database ${database} is ${text(properties.comment)}`);
  for (const { role, setting } of properties.settings) {
    if (role !== null && !roles.has(role)) continue;
    const [key = '', ...value] = setting.split('=');
    const target = role === null ? `database ${database}` : `role ${id(role)} in database ${database}`;
    statements.push(`alter ${target} set ${key.split('.').map(id).join('.')} to ${settingText(key, value.join('='))}`);
  }
  if (properties.grants !== null) {
    statements.push(`revoke all on database ${database} from public`);
    for (const { grantee, privilege, grantable } of properties.grants) {
      if (grantee !== null && !roles.has(grantee)) continue;
      if (!/^[A-Z ]+$/.test(privilege)) continue;
      statements.push(
        `grant ${privilege} on database ${database} to ${grantee === null ? 'public' : id(grantee)}${grantable ? ' with grant option' : ''}`,
      );
    }
  }
  if (roles.has(properties.owner)) statements.push(`alter database ${database} owner to ${id(properties.owner)}`);
  if (properties.connectionLimit >= 0)
    statements.push(`alter database ${database} connection limit ${properties.connectionLimit}`);
  if (properties.isTemplate) statements.push(`alter database ${database} is_template true`);
  return statements;
}

/** Prepares a drop: PostgreSQL refuses to drop a template. Nothing happens when there is no such database. */
export async function unmarkTemplate(session: Session, name: string): Promise<void> {
  const templates = await session.rows('select from pg_database where datname = $1 and datistemplate', [name]);
  if (templates.length > 0) await session.run(`alter database ${id(name)} is_template false`);
}

/** Settings that hold a list of names (GUC_LIST_QUOTE of PostgreSQL): quoting them as one word would change them. */
const listSettings = new Set([
  'local_preload_libraries',
  'search_path',
  'session_preload_libraries',
  'shared_preload_libraries',
  'temp_tablespaces',
  'unix_socket_directories',
  'createrole_self_grant',
  'restrict_nonsystem_relation_kind',
]);
