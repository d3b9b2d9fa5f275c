import type { EngineContext } from '@lastgood/core';
import type { Finding } from '@lastgood/protocol';
import type { PostgresConnection } from './connection-schema.ts';
import { Session } from './session.ts';
import { checkVersions, findTools, parseVersion, type ToolFolder, type Version } from './tools.ts';

/** The mark that databases of our own making carry in their names. */
export const MANAGED_MARK = '__lastgood_';
/** The end of the name of every one of them, for PostgreSQL's `~`: whatever else carries the mark is somebody's own. */
export const managedNamePattern = (role: 'new' | 'old' | 'undone' | '(old|undone)' | '(new|old|undone)'): string =>
  `${MANAGED_MARK}${role}_[0-9a-f]{12}$`;

export interface DatabaseSize {
  readonly name: string;
  readonly sizeBytes: number;
}
export interface ServerFacts {
  readonly version: Version;
  readonly systemId: string;
  readonly standby: boolean;
  readonly databases: readonly DatabaseSize[];
  /** Databases that accept no connections, so that nothing can be read from them. */
  readonly closed: readonly string[];
}

/** What the server reports about itself; the two databases that initdb makes as templates, and those set aside by us, are not listed. */
export async function serverFacts(session: Session): Promise<ServerFacts> {
  const about = await session.one<{ version: string; id: string; standby: boolean }>(
    "select current_setting('server_version') as version, (select system_identifier from pg_control_system())::text as id, pg_is_in_recovery() as standby",
  );
  const databases = await session.rows<{ name: string; open: boolean; size: string | null }>(
    "select datname as name, datallowconn as open, case when has_database_privilege(datname, 'connect') then pg_database_size(oid) end::text as size from pg_database where datname not in ('template0', 'template1') and datname !~ $1 order by 1",
    [managedNamePattern('(new|old|undone)')],
  );
  return {
    version: parseVersion(about.version),
    systemId: about.id,
    standby: about.standby,
    databases: databases.filter(({ open }) => open).map(({ name, size }) => ({ name, sizeBytes: Number(size ?? 0) })),
    closed: databases.filter(({ open }) => !open).map(({ name }) => name),
  };
}

export interface Server {
  readonly session: Session;
  readonly facts: ServerFacts;
  readonly tools: ToolFolder;
  readonly warnings: readonly Finding[];
}

/** The connection with its sessions elsewhere than in `database`, which one of them is to rename, to drop or to make. */
export function connectVia(connection: PostgresConnection, database: string): PostgresConnection {
  if (connection.database !== database) return connection;
  return { ...connection, database: database === 'postgres' ? 'template1' : 'postgres' };
}

/** Connects, and finds client tools that may be used against this server (TOOL_NOT_FOUND, TOOL_VERSION). */
export async function openServer(
  connection: PostgresConnection,
  context: EngineContext,
): Promise<Server & AsyncDisposable> {
  const session = await Session.open(connection, connection.database, context.signal);
  try {
    const facts = await serverFacts(session);
    const tools = await findTools(connection.binDir, context.signal, facts.version.major);
    const warnings = checkVersions(tools.version, facts.version);
    return { session, facts, tools, warnings, [Symbol.asyncDispose]: () => session[Symbol.asyncDispose]() };
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
}
