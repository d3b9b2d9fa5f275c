import { createHash } from 'node:crypto';
import { statfs } from 'node:fs/promises';
import {
  type ArtifactSource,
  type EngineContext,
  Failure,
  type RecoverySource,
  type RestoredRoles,
} from '@lastgood/core';
import {
  type Finding,
  type FindingCode,
  findingKey,
  type RestorePlanSummary,
  type RestoreRequest,
} from '@lastgood/protocol';
import { artifactsOf, type DatabaseArtifacts, sizeOf } from './artifacts.ts';
import { LOGICAL } from './backup-methods.ts';
import type { PostgresConnection } from './connection-schema.ts';
import { type DatabaseRestore, databaseRestoreOf, restoredName } from './database-restore.ts';
import {
  checkLocales,
  findMissing,
  findObstacles,
  type Lacks,
  refusalsOf,
  warningsOf,
  warnOfSessions,
} from './plan-checks.ts';
import { noticesOf } from './plan-notices.ts';
import { refusedRoles } from './plan-roles.ts';
import { connectVia, openServer, type Server } from './server.ts';

const MAX_LISTED = 20;

export interface RestorePlan {
  readonly summary: RestorePlanSummary;
  readonly source: ArtifactSource;
  readonly mode: DatabaseRestore;
  /** Constraints that the rows violate are restored as NOT VALID. */
  readonly acceptInvalidConstraints: boolean;
  /** What the server lacks of what the backup needs. */
  readonly missingRoles: readonly string[];
  readonly artifacts: DatabaseArtifacts;
  /** The database that is replaced, when there is one. */
  readonly existing: { readonly oid: string; readonly sizeBytes: number } | undefined;
  readonly missingTablespaces: readonly string[];
  /** The tablespace of the database itself; null for the default one of the server. */
  readonly home: string | null;
}

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

/** Free space changes all the time: it decides whether a plan is refused, but is not part of its hash. */
const SERVER_SPACE_LOW: FindingCode = 'SERVER_SPACE_LOW';

/** The hash that consent to a restore is bound to, computed from data: codes, subjects and values, never sentences. */
function hashPlan(
  server: Server,
  { manifest }: ArtifactSource,
  mode: DatabaseRestore,
  { roles, extensions, tablespaces }: Lacks,
  found: {
    readonly existing: string | null;
    readonly replaces: readonly string[];
    readonly home: string | null;
    readonly acceptInvalidConstraints: boolean;
    readonly rights: RestoredRoles;
    readonly notices: readonly Finding[];
    readonly refusals: readonly Finding[];
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
    notices: found.notices.map(findingKey),
    refusals: found.refusals.filter(({ code }) => code !== SERVER_SPACE_LOW).map(findingKey),
  };
  return createHash('sha256').update(JSON.stringify(decided)).digest('hex');
}

/** What the server lacks, as the plan lists it. */
function missingParts({ roles, extensions, tablespaces }: Lacks): RestorePlanSummary['missing'] {
  const listed = (kind: 'role' | 'extension' | 'tablespace', names: readonly string[]): RestorePlanSummary['missing'] =>
    names.slice(0, MAX_LISTED).map((name) => ({ kind, name }));
  return [...listed('role', roles), ...listed('extension', extensions), ...listed('tablespace', tablespaces)];
}

const versionRows = ({ fingerprint }: DatabaseArtifacts, { facts }: Server): RestorePlanSummary['details'] => [
  { label: 'version of the backup', value: fingerprint.serverVersion, unit: 'text' },
  { label: 'version of the server', value: facts.version.text, unit: 'text' },
];

/** Opens a logical backup. Throws BAD_INPUT for a physical one. */
async function openLogical(backups: RecoverySource, backupId: string): Promise<ArtifactSource> {
  const source = await backups.open(backupId);
  if (source.manifest.method === LOGICAL.method) return source;
  throw new Failure('BAD_INPUT', `single databases are restored from logical backups; ${backupId} is physical`, {
    remedy: 'Name a logical backup, or restore the whole server with --to-folder.',
  });
}

async function findDatabase({ session }: Server, name: string): Promise<{ oid: string; size: string } | undefined> {
  const found = await session.rows<{ oid: string; size: string }>(
    'select oid::text, pg_database_size(oid)::text as size from pg_database where datname = $1',
    [name],
  );
  return found[0];
}

/** Plans a restore: reads the backup and the server, and changes nothing. Throws BAD_INPUT for a request that cannot be fulfilled. */
export async function makePlan(
  connection: PostgresConnection,
  request: RestoreRequest,
  backups: RecoverySource,
  context: EngineContext,
  rights: RestoredRoles,
): Promise<RestorePlan> {
  const { backupId, mode, acceptInvalidConstraints } = databaseRestoreOf(request);
  const source = await openLogical(backups, backupId);
  const artifacts = await artifactsOf(source, mode.database, context.signal);
  await using server = await openServer(connectVia(connection, restoredName(mode)), context);
  const { manifest } = source;
  const existing = await findDatabase(server, restoredName(mode));
  const lacks = await findMissing(server, mode, artifacts);
  const needBytes = sizeOf(source, mode.database);
  const { tablespace } = artifacts.properties;
  const home = mode.way === 'in-place' || tablespace === 'pg_default' || lacks.home !== null ? null : tablespace;
  const freeBytes = await freeOnServer(server, connection.host, home);
  const notices = await noticesOf(server, mode, existing !== undefined, { source, artifacts, connection }, context);
  const checked = { server, mode, artifacts, lacks, systemId: manifest.server.systemId };
  const locale = await checkLocales(checked);
  const space = { neededBytes: needBytes, freeBytes };
  const refusals = [
    ...refusalsOf(checked, existing !== undefined, space),
    ...(await findObstacles(checked)),
    ...locale.refusals,
    ...(await refusedRoles(server, lacks.roles, source, artifacts, rights, context.signal)),
  ];
  const warnings = [...(await warnOfSessions(checked)), ...warningsOf(checked, rights), ...locale.warnings, ...notices];
  const replaces = existing === undefined || mode.way === 'new' ? [] : [mode.database];
  const hash = hashPlan(server, source, mode, lacks, {
    existing: existing?.oid ?? null,
    replaces,
    home,
    acceptInvalidConstraints,
    rights,
    notices,
    refusals,
  });
  const summary: RestorePlanSummary = {
    hash,
    request,
    backupId: manifest.backupId,
    method: manifest.method,
    recoveryPoint: artifacts.fingerprint.snapshotAt,
    into: restoredName(mode),
    confirm: restoredName(mode),
    replaces,
    missing: missingParts(lacks),
    readBytes: artifacts.dump.stored.size,
    needBytes,
    freeBytes,
    estimatedMs: null,
    details: versionRows(artifacts, server),
    warnings,
    refusals: refusals.slice(0, MAX_LISTED),
  };
  return {
    summary,
    source,
    mode,
    acceptInvalidConstraints,
    missingRoles: lacks.roles,
    artifacts,
    existing: existing === undefined ? undefined : { oid: existing.oid, sizeBytes: Number(existing.size) },
    missingTablespaces: lacks.tablespaces,
    home,
  };
}
