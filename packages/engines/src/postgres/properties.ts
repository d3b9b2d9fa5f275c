import { type Finding, makeFinding } from '@lastgood/protocol';
import pg from 'pg';
import { z } from 'zod';
import { isRefusal } from './messages/server-failure.ts';
import type { Session } from './session.ts';

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

/** The clause that names the provider of the locale; nothing before PostgreSQL 15, where there is none to choose from. */
function provided({ provider, icuLocale, icuRules }: Properties, major: number): string {
  if (major < 15) return '';
  // Written for libc as well: without it, the provider of the template counts.
  if (provider === 'libc') return ' locale_provider libc';
  const locale =
    icuLocale === null ? '' : ` ${provider === 'icu' ? 'icu_locale' : 'builtin_locale'} ${text(icuLocale)}`;
  const rules = icuRules === null ? '' : ` icu_rules ${text(icuRules)}`;
  return ` locale_provider ${provider}${locale}${rules}`;
}

/** CREATE DATABASE with the encoding and locale of the source, for a server of version `major`; the sole statement of its call. Null: the server's default tablespace. */
export function createDatabase(properties: Properties, name: string, tablespace: string | null, major: number): string {
  const place = tablespace === null ? '' : ` tablespace ${id(tablespace)}`;
  return `create database ${id(name)} template template0 encoding ${text(properties.encoding)} lc_collate ${text(properties.collate)} lc_ctype ${text(properties.ctype)}${provided(properties, major)}${place}`;
}

/** What of a database decides how it sorts, compares and stores text, and cannot be changed once it is made. */
const FIXED = {
  encoding: 'encoding',
  provider: 'provider of the locale',
  collate: 'collation',
  ctype: 'character type',
  icuLocale: 'locale',
  icuRules: 'rules of the locale',
} as const;

/** In which of these a database differs from its source; empty when it sorts and stores text as the source did. */
export function differingProperties(source: Properties, found: Properties): Finding[] {
  const named = (value: string | null): string => (value === null ? 'none' : `"${value}"`);
  return (Object.keys(FIXED) as (keyof typeof FIXED)[])
    .filter((key) => source[key] !== found[key])
    .map((key) =>
      makeFinding('PROPERTY_DIFFERS', null, {
        property: FIXED[key],
        found: named(found[key]),
        source: named(source[key]),
      }),
    );
}

/** The statements that give a restored database its settings, by what they set; those of roles that are not there are left out. */
export function settingsOf(properties: Properties, name: string, roles: ReadonlySet<string>): Map<string, string> {
  const statements = new Map<string, string>();
  for (const { role, setting } of properties.settings) {
    if (role !== null && !roles.has(role)) continue;
    const [key = '', ...value] = setting.split('=');
    const target = role === null ? `database ${id(name)}` : `role ${id(role)} in database ${id(name)}`;
    statements.set(
      role === null ? key : `${key} of role ${id(role)}`,
      `alter ${target} set ${key.split('.').map(id).join('.')} to ${settingValue(key, value.join('='))}`,
    );
  }
  return statements;
}

/** The statements that give a restored database its other properties. Roles that are not there are left out. */
function applyProperties(properties: Properties, name: string, roles: ReadonlySet<string>): string[] {
  const statements: string[] = [];
  const database = id(name);
  if (properties.comment !== null) statements.push(`comment on database ${database} is ${text(properties.comment)}`);
  const owner = roles.has(properties.owner) ? id(properties.owner) : 'current_user';
  if (roles.has(properties.owner)) statements.push(`alter database ${database} owner to ${owner}`);
  // Nobody but the owner may connect while a restore loads it: the defaults are given back like any other grants.
  if (properties.grants === null) statements.push(`grant connect, temporary on database ${database} to public`);
  else {
    statements.push(`revoke all on database ${database} from public, ${owner}`);
    for (const { grantee, privilege, grantable } of properties.grants) {
      if (grantee !== null && !roles.has(grantee)) continue;
      if (!/^[A-Z ]+$/.test(privilege)) continue;
      statements.push(
        `grant ${privilege} on database ${database} to ${grantee === null ? 'public' : id(grantee)}${grantable ? ' with grant option' : ''}`,
      );
    }
  }
  if (properties.connectionLimit >= 0)
    statements.push(`alter database ${database} connection limit ${properties.connectionLimit}`);
  if (properties.isTemplate) statements.push(`alter database ${database} is_template true`);
  return statements;
}

/**
 * Gives a restored database the properties of the source. A setting that this server or this role refuses (one that a newer version
 * has given up) keeps nobody from the data: it is left out, with a warning. Any other refusal is thrown.
 */
export async function giveProperties(
  session: Session,
  properties: Properties,
  name: string,
  roles: ReadonlySet<string>,
): Promise<Finding[]> {
  const warnings: Finding[] = [];
  for (const [what, statement] of settingsOf(properties, name, roles))
    await session.run(statement).catch((error: unknown) => {
      if (!isRefusal(error)) throw error;
      warnings.push(makeFinding('SETTING_LEFT_OUT', { kind: 'setting', name: what }, { reason: error.message }));
    });
  for (const statement of applyProperties(properties, name, roles)) await session.run(statement);
  return warnings;
}

/** Prepares a drop: PostgreSQL refuses to drop a template. Nothing happens when there is no such database. */
export async function unmarkTemplate(session: Session, name: string): Promise<void> {
  const templates = await session.rows('select from pg_database where datname = $1 and datistemplate', [name]);
  if (templates.length > 0) await session.run(`alter database ${id(name)} is_template false`);
}

/** Settings that hold a list, of which the server quotes every element by itself (GUC_LIST_QUOTE): as one text they would be one element. */
const LISTS = new Set([
  'local_preload_libraries',
  'search_path',
  'session_preload_libraries',
  'shared_preload_libraries',
  'temp_tablespaces',
  'unix_socket_directories',
]);
/** Of these, the lists of names: without quotes, a name means the one in small letters. */
const LISTS_OF_NAMES = new Set(['search_path', 'temp_tablespaces']);

/** The elements of a list setting as the server reads them; null when it is not written as a list. */
export function elementsOf(list: string, names: boolean): string[] | null {
  const elements: string[] = [];
  const next = /\s*(?:"((?:[^"]|"")*)"|([^",\s]+))\s*(,|$)/y;
  for (;;) {
    const found = next.exec(list);
    if (found === null) return list.trim() === '' ? [] : null;
    const [, quoted, bare = '', end] = found;
    const plain = names ? bare.replace(/[A-Z]/g, (letter) => letter.toLowerCase()) : bare;
    elements.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === '') return elements;
  }
}

/** A setting's value as ALTER ... SET takes it: the owner of a database can put any text there. */
function settingValue(key: string, value: string): string {
  const name = key.toLowerCase();
  if (!LISTS.has(name)) return text(value);
  const elements = elementsOf(value, LISTS_OF_NAMES.has(name)) ?? [value];
  return elements.length === 0 ? "''" : elements.map(text).join(', ');
}
