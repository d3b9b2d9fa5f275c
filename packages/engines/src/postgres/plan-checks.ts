import type { RestoredRoles } from '@lastgood/core';
import { type Finding, makeFinding, makeRefusal, type Refusal } from '@lastgood/protocol';
import pg from 'pg';
import type { DatabaseArtifacts } from './artifacts.ts';
import type { DatabaseRestore } from './database-restore.ts';
import type { Server } from './server.ts';
import { parseVersion } from './tools.ts';

/** What the server lacks of what the backup needs. */
export interface Lacks {
  readonly roles: readonly string[];
  readonly extensions: readonly string[];
  readonly tablespaces: readonly string[];
  /** The tablespace of the database itself, when it is missing and wanted. */
  readonly home: string | null;
}

/** What the checks of a plan compare. */
export interface Checked {
  readonly server: Server;
  readonly mode: DatabaseRestore;
  readonly artifacts: DatabaseArtifacts;
  readonly lacks: Lacks;
  /** Of the server that was backed up. */
  readonly systemId: string;
}

const database = (name: string) => ({ kind: 'database', name }) as const;
const role = (name: string) => ({ kind: 'role', name }) as const;

export async function findMissing(server: Server, mode: DatabaseRestore, source: DatabaseArtifacts): Promise<Lacks> {
  const { tablespace } = source.properties;
  const { roles, extensions, tablespaces } = source.fingerprint;
  const names = async (sql: string): Promise<Set<string>> =>
    new Set((await server.session.rows<{ name: string }>(sql)).map((row) => row.name));
  const [haveRoles, haveExtensions, haveTablespaces] = [
    await names('select rolname as name from pg_roles'),
    await names('select name from pg_available_extensions'),
    await names('select spcname as name from pg_tablespace'),
  ];
  return {
    roles: roles.filter((name) => !haveRoles.has(name)),
    extensions: extensions.map((extension) => extension.name).filter((name) => !haveExtensions.has(name)),
    tablespaces: tablespaces.filter((name) => !haveTablespaces.has(name)),
    home: mode.way === 'in-place' || haveTablespaces.has(tablespace) ? null : tablespace,
  };
}

/** What stands in the way of replacing a database, and would otherwise be noticed only after the whole dump is loaded. */
export async function findObstacles({ server: { session }, mode }: Checked): Promise<Refusal[]> {
  if (mode.way === 'new') return [];
  const found: Refusal[] = [];
  const { prepared } = await session.one<{ prepared: string[] | null }>(
    'select array_agg(gid::text order by gid) as prepared from pg_prepared_xacts where database = $1',
    [mode.database],
  );
  if (prepared !== null)
    found.push(makeRefusal('PREPARED_TRANSACTIONS', database(mode.database), { transactions: prepared }));
  const { subscriptions } = await session.one<{ subscriptions: string[] | null }>(
    'select array_agg(subname::text order by subname) as subscriptions from pg_subscription s join pg_database d on d.oid = s.subdbid where d.datname = $1 and subslotname is not null',
    [mode.database],
  );
  if (mode.way === 'in-place' && subscriptions !== null)
    found.push(makeRefusal('SUBSCRIPTIONS_IN_DATABASE', database(mode.database), { subscriptions }));
  return found;
}

/** What the users of a database that is replaced will notice. */
export async function warnOfSessions({ server: { session }, mode }: Checked): Promise<Finding[]> {
  if (mode.way === 'new') return [];
  const { open } = await session.one<{ open: number }>(
    "select count(*)::int as open from pg_stat_activity where datname = $1 and usesysid is not null and coalesce(backend_type, 'client backend') = 'client backend' and pid <> pg_backend_pid()",
    [mode.database],
  );
  return open === 0 ? [] : [makeFinding('SESSIONS_WILL_END', database(mode.database), { sessions: open })];
}

/** Whether the server has the locale of the restored database; it may have more locales than it knew when it was created. */
export async function checkLocales({
  server: { session },
  mode,
  artifacts: { properties },
}: Checked): Promise<{ refusals: Refusal[]; warnings: Finding[] }> {
  if (mode.way === 'in-place') return { refusals: [], warnings: [] };
  const { icu, known } = await session.one<{ icu: boolean; known: string[] }>(
    `select exists (select from pg_collation where collprovider = 'i') as icu,
      array(select collcollate from pg_collation where collprovider = 'c' and collcollate is not null union select datcollate from pg_database union select datctype from pg_database)::text[] as known`,
  );
  const plain = (name: string): string => name.toLowerCase().replaceAll('-', '');
  const names = new Set(known.map(plain));
  const unknown = [...new Set([properties.collate, properties.ctype])].filter((name) => !names.has(plain(name)));
  return {
    refusals: properties.provider === 'icu' && !icu ? [makeRefusal('ICU_MISSING', null)] : [],
    warnings: unknown.map((name) => makeFinding('LOCALE_MAYBE_MISSING', { kind: 'locale', name })),
  };
}

export interface Space {
  readonly neededBytes: number;
  /** Null when the disk of the server is out of reach. */
  readonly freeBytes: number | null;
}

export function refusalsOf(
  { server, mode, artifacts: { fingerprint }, lacks }: Checked,
  exists: boolean,
  { neededBytes, freeBytes }: Space,
): Refusal[] {
  const refusals: Refusal[] = [];
  const source = parseVersion(fingerprint.serverVersion);
  const { version, standby } = server.facts;
  if (version.major < source.major)
    refusals.push(makeRefusal('SERVER_OLDER_THAN_SOURCE', null, { server: version.text, source: source.text }));
  if (standby) refusals.push(makeRefusal('SERVER_IS_STANDBY', null));
  if (mode.way === 'new' && exists) refusals.push(makeRefusal('DATABASE_EXISTS', database(mode.as)));
  if (mode.way === 'in-place' && !exists) refusals.push(makeRefusal('DATABASE_MISSING', database(mode.database)));
  if (freeBytes !== null && freeBytes < neededBytes)
    refusals.push(makeRefusal('SERVER_SPACE_LOW', null, { needed: neededBytes, free: freeBytes }));
  for (const name of lacks.extensions)
    refusals.push(makeRefusal('EXTENSION_NOT_INSTALLED', { kind: 'extension', name }));
  const { bootstrap } = fingerprint;
  if (bootstrap?.superuserOnly === true && lacks.roles.includes(bootstrap.role)) {
    const identifier = pg.escapeIdentifier(bootstrap.role);
    const refusal = makeRefusal('BOOTSTRAP_ROLE_MISSING', role(bootstrap.role));
    refusals.push({ ...refusal, params: { identifier } });
  }
  return refusals;
}

export function warningsOf(
  { server, artifacts: { fingerprint }, lacks, systemId }: Checked,
  rights: RestoredRoles,
): Finding[] {
  const warnings = [...server.warnings];
  if (systemId !== server.facts.systemId) warnings.push(makeFinding('OTHER_SERVER', null));
  const { major } = parseVersion(fingerprint.serverVersion);
  const { version } = server.facts;
  if (major < version.major)
    warnings.push(makeFinding('SERVER_NEWER_THAN_SOURCE', null, { source: String(major), server: version.text }));
  if (lacks.tablespaces.length > 0)
    warnings.push(makeFinding('TABLESPACES_MISSING', null, { tablespaces: lacks.tablespaces }));
  if (lacks.home !== null)
    warnings.push(makeFinding('DATABASE_TABLESPACE_MISSING', { kind: 'tablespace', name: lacks.home }));
  const first = fingerprint.bootstrap?.role;
  const others = lacks.roles.filter((name) => name !== first);
  if (others.length > 0)
    warnings.push(
      makeFinding(rights === 'full' ? 'ROLES_WILL_BE_CREATED' : 'ROLES_CREATED_WITHOUT_RIGHTS', null, {
        roles: others,
      }),
    );
  if (first !== undefined && lacks.roles.includes(first))
    warnings.push(makeFinding('BOOTSTRAP_ROLE_REDUCED', role(first)));
  return warnings;
}
