import type { EngineContext } from '@lastgood/core';
import { type PostgresConnection, Session } from './connection.ts';
import { checkVersions, findTools, parseVersion, type ToolFolder, type Version } from './tools.ts';

/** Marks that our own databases carry in their names; a backup leaves them out. */
export const OURS = '__lastgood_';

export interface DatabaseSize {
  readonly name: string;
  readonly sizeBytes: number;
}
export interface ServerFacts {
  readonly version: Version;
  readonly systemId: string;
  readonly standby: boolean;
  readonly databases: readonly DatabaseSize[];
}

/** What the server says of itself; databases that are templates, closed or set aside by us are not listed. */
export async function serverFacts(session: Session): Promise<ServerFacts> {
  const about = await session.one<{ version: string; id: string; standby: boolean }>(
    "select current_setting('server_version') as version, (select system_identifier from pg_control_system())::text as id, pg_is_in_recovery() as standby",
  );
  const databases = await session.rows<{ name: string; size: string | null }>(
    "select datname as name, case when has_database_privilege(datname, 'connect') then pg_database_size(oid) end::text as size from pg_database where datallowconn and not datistemplate and strpos(datname, $1) = 0 order by 1",
    [OURS],
  );
  return {
    version: parseVersion(about.version),
    systemId: about.id,
    standby: about.standby,
    databases: databases.map(({ name, size }) => ({ name, sizeBytes: Number(size ?? 0) })),
  };
}

export interface Server {
  readonly session: Session;
  readonly facts: ServerFacts;
  readonly tools: ToolFolder;
  readonly warnings: readonly string[];
}

/** The connection with its sessions elsewhere than in `database`, which one of them is to rename, to drop or to make. */
export function outside(connection: PostgresConnection, database: string): PostgresConnection {
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
