import { createHash } from 'node:crypto';
import { statfs } from 'node:fs/promises';
import { type ArtifactSource, type EngineContext, Failure } from '@lastgood/core';
import { databaseNameSchema, type RestoreMode, type RestorePlanSummary } from '@lastgood/protocol';
import pg from 'pg';
import { artifactsOf, type DatabaseArtifacts, sizeOf } from './artifacts.ts';
import type { PostgresConnection } from './connection-schema.ts';
import { noticesOf } from './plan-notices.ts';
import { refusedRoles } from './plan-roles.ts';
import { connectVia, MANAGED_MARK, openServer, type Server } from './server.ts';
import { parseVersion } from './tools.ts';

const MAX_LISTED = 20;

export interface RestorePlan {
  readonly summary: RestorePlanSummary;
  readonly artifacts: DatabaseArtifacts;
  /** The database that is replaced, when there is one. */
  readonly existing: { readonly oid: string; readonly sizeBytes: number } | undefined;
  readonly missingTablespaces: readonly string[];
  /** The tablespace of the database itself; null for the default one of the server. */
  readonly home: string | null;
}

const into = (mode: RestoreMode): string => (mode.type === 'new' ? mode.as : mode.database);

/** Free bytes where a database in `tablespace` (null: the default one) would be. */
async function freeOnServer({ session }: Server, host: string, tablespace: string | null): Promise<number | null> {
  // Only a server on this host has its data folder in reach; elsewhere the space is unknown, and said to be.
  if (!host.startsWith('/') && host !== 'localhost' && host !== '127.0.0.1' && host !== '::1') return null;
  const { folder } = await session.one<{ folder: string | null }>(
    "select coalesce((select nullif(pg_tablespace_location(oid), '') from pg_tablespace where spcname = $1), case when pg_has_role(current_user, 'pg_read_all_settings', 'member') then current_setting('data_directory') end) as folder",
    [tablespace],
  );
  if (folder === null) return null;
  return await statfs(folder).then(
    ({ bavail, bsize }) => bavail * bsize,
    () => null,
  );
}

/** What the server lacks of what the backup needs. */
interface Lacks {
  readonly roles: readonly string[];
  readonly extensions: readonly string[];
  readonly tablespaces: readonly string[];
  /** The tablespace of the database itself, when it is missing and wanted. */
  readonly home: string | null;
}

async function missing(server: Server, mode: RestoreMode, source: DatabaseArtifacts): Promise<Lacks> {
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
    roles: roles.filter((role) => !haveRoles.has(role)),
    extensions: extensions.map((extension) => extension.name).filter((name) => !haveExtensions.has(name)),
    tablespaces: tablespaces.filter((each) => !haveTablespaces.has(each)),
    home: mode.type === 'inPlace' || haveTablespaces.has(tablespace) ? null : tablespace,
  };
}

/** What stands in the way of replacing a database, and would be noticed only when the whole dump is loaded. */
async function hindrances({ session }: Server, mode: RestoreMode): Promise<string[]> {
  if (mode.type === 'new') return [];
  const found: string[] = [];
  const { prepared } = await session.one<{ prepared: string[] | null }>(
    'select array_agg(gid::text order by gid) as prepared from pg_prepared_xacts where database = $1',
    [mode.database],
  );
  if (prepared !== null)
    found.push(
      `database "${mode.database}" has prepared transactions (${prepared.slice(0, 3).join(', ')}): commit them or roll them back there, see pg_prepared_xacts`,
    );
  const { subscriptions } = await session.one<{ subscriptions: string[] | null }>(
    'select array_agg(subname::text order by subname) as subscriptions from pg_subscription s join pg_database d on d.oid = s.subdbid where d.datname = $1 and subslotname is not null',
    [mode.database],
  );
  if (mode.type === 'inPlace' && subscriptions !== null)
    found.push(
      `database "${mode.database}" has subscriptions (${subscriptions.slice(0, 3).join(', ')}), which no transaction can drop: restore with swap or to a new name, or take their slots from them (alter subscription ... disable, then set (slot_name = none))`,
    );
  return found;
}

/** What the users of a database that is replaced will notice. */
async function sessionsOf({ session }: Server, mode: RestoreMode): Promise<string[]> {
  if (mode.type === 'new') return [];
  const { open } = await session.one<{ open: number }>(
    "select count(*)::int as open from pg_stat_activity where datname = $1 and usesysid is not null and coalesce(backend_type, 'client backend') = 'client backend' and pid <> pg_backend_pid()",
    [mode.database],
  );
  return open === 0 ? [] : [`${open} sessions of "${mode.database}" are open now and will be ended`];
}

/** What the server says of the locale that the restored database shall have; it may have more than it knew when it was made. */
async function locales(
  { session }: Server,
  mode: RestoreMode,
  { properties }: DatabaseArtifacts,
): Promise<{ refusals: string[]; warnings: string[] }> {
  if (mode.type === 'inPlace') return { refusals: [], warnings: [] };
  const { icu, known } = await session.one<{ icu: boolean; known: string[] }>(
    `select exists (select from pg_collation where collprovider = 'i') as icu,
      array(select collcollate from pg_collation where collprovider = 'c' and collcollate is not null union select datcollate from pg_database union select datctype from pg_database)::text[] as known`,
  );
  const plain = (name: string): string => name.toLowerCase().replaceAll('-', '');
  const names = new Set(known.map(plain));
  const unknown = [...new Set([properties.collate, properties.ctype])].filter((name) => !names.has(plain(name)));
  return {
    refusals: properties.provider === 'icu' && !icu ? ['the server was built without ICU, which sorts the source'] : [],
    warnings: unknown.map((name) => `the server may lack locale "${name}" of the source: install it there if so`),
  };
}

function refusalsOf(
  server: Server,
  mode: RestoreMode,
  source: DatabaseArtifacts,
  exists: boolean,
  free: number | null,
  need: number,
  lacks: Lacks,
): string[] {
  const refusals: string[] = [];
  const sourceVersion = parseVersion(source.fingerprint.serverVersion);
  if (server.facts.version.major < sourceVersion.major)
    refusals.push(`the server (${server.facts.version.text}) is older than the source (${sourceVersion.text})`);
  if (server.facts.standby) refusals.push('the server is a standby: restore on its primary');
  if (mode.type === 'new' && exists) refusals.push(`database "${mode.as}" already exists`);
  if (mode.type === 'inPlace' && !exists)
    refusals.push(`database "${mode.database}" does not exist: restore it with swap or to a new name`);
  if (free !== null && free < need) refusals.push(`the restore needs ${need} bytes, the server's disk has ${free}`);
  for (const name of lacks.extensions) refusals.push(`extension "${name}" is not installed on this server`);
  const { bootstrap } = source.fingerprint;
  if (bootstrap?.superuserOnly === true && lacks.roles.includes(bootstrap.role))
    refusals.push(
      `role "${bootstrap.role}" is missing and owns what only a superuser may own: make it first (create role ${pg.escapeIdentifier(bootstrap.role)} superuser nologin)`,
    );
  return refusals;
}

function warningsOf(server: Server, systemId: string, source: DatabaseArtifacts, lacks: Lacks): string[] {
  const warnings = [...server.warnings];
  if (systemId !== server.facts.systemId) warnings.push('the backup was taken of another server (system id)');
  const { major } = parseVersion(source.fingerprint.serverVersion);
  if (major < server.facts.version.major)
    warnings.push(`the backup is of PostgreSQL ${major}, the server of a newer one (${server.facts.version.text})`);
  if (lacks.tablespaces.length > 0)
    warnings.push(`tablespaces ${lacks.tablespaces.join(', ')} are missing: their tables go to the default one`);
  if (lacks.home !== null)
    warnings.push(`tablespace ${lacks.home}, where the database was, is missing: it goes to the default one`);
  const first = source.fingerprint.bootstrap?.role;
  const others = lacks.roles.filter((role) => role !== first);
  if (others.length > 0)
    warnings.push(
      `roles ${others.slice(0, MAX_LISTED).join(', ')} are missing: they are made from the globals of the backup, with their passwords, settings and memberships`,
    );
  if (first !== undefined && lacks.roles.includes(first))
    warnings.push(
      `role "${first}", the first superuser of the source, is missing: it is made without login and without its rights, to own what it owned; what runs with the rights of its owner (security definer) has fewer`,
    );
  return warnings;
}

/** BAD_INPUT for a name that no database can have, or none but ours. */
function checkName(mode: RestoreMode): void {
  if (!databaseNameSchema.safeParse(into(mode)).success)
    throw new Failure('BAD_INPUT', 'the new name must have 1 to 63 bytes, without NUL');
  if (mode.type === 'new' && mode.as.includes(MANAGED_MARK))
    throw new Failure(
      'BAD_INPUT',
      `the new name must not contain ${MANAGED_MARK}, the mark of databases that we drop by ourselves`,
    );
}

/** The hash that consent to a restore is bound to. It leaves out free space, which changes all the time. */
function hashPlan(
  server: Server,
  { manifest }: ArtifactSource,
  mode: RestoreMode,
  { roles, extensions, tablespaces }: Lacks,
  found: {
    readonly existing: string | null;
    readonly overwrites: readonly string[];
    readonly home: string | null;
    readonly notices: readonly string[];
    readonly refusals: readonly string[];
  },
): string {
  const decided = {
    ...found,
    backupId: manifest.backupId,
    manifest: manifest.checksum,
    mode,
    systemId: server.facts.systemId,
    serverVersion: server.facts.version.text,
    roles,
    extensions,
    tablespaces,
    refusals: found.refusals.filter((refusal) => !refusal.startsWith('the restore needs')),
  };
  return createHash('sha256').update(JSON.stringify(decided)).digest('hex');
}

/** Plans a restore: reads the backup and the server, and changes nothing. Throws BAD_INPUT for an invalid database name. */
export async function makePlan(
  connection: PostgresConnection,
  mode: RestoreMode,
  source: ArtifactSource,
  context: EngineContext,
): Promise<RestorePlan> {
  const artifacts = await artifactsOf(source, mode.database, context.signal);
  checkName(mode);
  await using server = await openServer(connectVia(connection, into(mode)), context);
  const { manifest } = source;
  const [existing] = await server.session.rows<{ oid: string; size: string }>(
    'select oid::text, pg_database_size(oid)::text as size from pg_database where datname = $1',
    [into(mode)],
  );
  const lacks = await missing(server, mode, artifacts);
  const needBytes = sizeOf(source, mode.database);
  const { tablespace } = artifacts.properties;
  const home = mode.type === 'inPlace' || tablespace === 'pg_default' || lacks.home !== null ? null : tablespace;
  const freeBytes = await freeOnServer(server, connection.host, home);
  const notices = await noticesOf(server, mode, existing !== undefined, { source, artifacts, connection }, context);
  const locale = await locales(server, mode, artifacts);
  const refusals = [
    ...refusalsOf(server, mode, artifacts, existing !== undefined, freeBytes, needBytes, lacks),
    ...(await hindrances(server, mode)),
    ...locale.refusals,
    ...(await refusedRoles(server, lacks.roles, source, artifacts, context.signal)),
  ];
  const warnings = [
    ...(await sessionsOf(server, mode)),
    ...warningsOf(server, manifest.server.systemId, artifacts, lacks),
    ...locale.warnings,
    ...notices,
  ];
  const overwrites = existing === undefined || mode.type === 'new' ? [] : [mode.database];
  const existingOid = existing?.oid ?? null;
  const hash = hashPlan(server, source, mode, lacks, { existing: existingOid, overwrites, home, notices, refusals });
  const summary: RestorePlanSummary = {
    hash,
    backupId: manifest.backupId,
    mode: mode.type,
    snapshotAt: artifacts.fingerprint.snapshotAt,
    database: mode.database,
    into: into(mode),
    confirm: into(mode),
    readBytes: artifacts.dump.stored.size,
    needBytes,
    freeBytes,
    sourceVersion: artifacts.fingerprint.serverVersion,
    serverVersion: server.facts.version.text,
    overwrites,
    missingRoles: lacks.roles.slice(0, MAX_LISTED),
    missingExtensions: lacks.extensions.slice(0, MAX_LISTED),
    warnings,
    refusals: refusals.slice(0, MAX_LISTED),
  };
  return {
    summary,
    artifacts,
    existing: existing === undefined ? undefined : { oid: existing.oid, sizeBytes: Number(existing.size) },
    missingTablespaces: lacks.tablespaces,
    home,
  };
}
