import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { BoltSession } from './bolt-session.ts';

export type Edition = 'community' | 'enterprise' | 'unknown';

export interface DatabaseFacts {
  readonly name: string;
  readonly type: 'system' | 'standard' | 'other';
  /** `currentStatus` of the server, such as online, offline, starting or unknown. */
  readonly status: string;
  readonly isDefault: boolean;
  /** Such as record-aligned-1.1; null while the database is offline. */
  readonly storeFormat: string | null;
  /** Identifies the store; null while the database is offline. */
  readonly storeId: string | null;
  /** Committed before the facts were read; null when the database is not online. */
  readonly lastTransaction: number | null;
}
export interface ServerFacts {
  readonly version: string;
  readonly edition: Edition;
  readonly databases: readonly DatabaseFacts[];
  /** Settings that the configuration names, and the folders in use. A value that may hold a secret is null. */
  readonly settings: Readonly<Record<string, string | null>>;
}

/** Settings whose values are numbers, names and paths. Of all others only the names are recorded. */
const OPEN_SETTINGS = [
  'db.',
  'initial.dbms.',
  'server.bolt.',
  'server.databases.',
  'server.default_',
  'server.directories.',
  'server.http.',
  'server.https.',
  'server.memory.',
  'dbms.memory.',
  'dbms.security.auth_enabled',
  'dbms.security.procedures.',
];
const SECRET = /password|secret|credential|token|key/i;

/** The value of a setting, unless it may hold a secret. */
export const openValueOf = (name: string, value: string): string | null =>
  OPEN_SETTINGS.some((prefix) => name.startsWith(prefix)) && !SECRET.test(name) ? value : null;

const textOrNull = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null);

/** Reads what a server reports about itself. */
export async function readServerFacts(session: BoltSession, queryMs: number): Promise<ServerFacts> {
  const components = await session.rows('system', 'CALL dbms.components() YIELD name, edition', {}, queryMs);
  const edition = components.find(({ name }) => name === 'Neo4j Kernel')?.['edition'];
  return {
    version: session.version,
    edition: edition === 'community' || edition === 'enterprise' ? edition : 'unknown',
    databases: await readDatabases(session, queryMs),
    settings: await readSettings(session, queryMs),
  };
}

/** Reads the databases of a server and their state. */
export async function readDatabases(session: BoltSession, queryMs: number): Promise<DatabaseFacts[]> {
  const rows = await session.rows(
    'system',
    'SHOW DATABASES YIELD name, type, currentStatus, default, store, databaseID',
    {},
    queryMs,
  );
  const databases: DatabaseFacts[] = [];
  for (const row of rows) {
    const { type } = row;
    const name = String(row['name']);
    const status = String(row['currentStatus']);
    databases.push({
      name,
      type: type === 'system' || type === 'standard' ? type : 'other',
      status,
      isDefault: row['default'] === true,
      storeFormat: textOrNull(row['store']),
      storeId: textOrNull(row['databaseID']),
      lastTransaction: status === 'online' ? await session.lastTransaction(name, queryMs) : null,
    });
  }
  return databases.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

async function readSettings(session: BoltSession, queryMs: number): Promise<Record<string, string | null>> {
  const rows = await session.rows(
    'system',
    "SHOW SETTINGS YIELD name, value, isExplicitlySet WHERE isExplicitlySet OR name STARTS WITH 'server.directories.' RETURN name, value",
    {},
    queryMs,
  );
  return Object.fromEntries(
    rows.map(({ name, value }) => [String(name), openValueOf(String(name), String(value))] as const),
  );
}

export interface PluginFile {
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** The jars in the plugins folder: a restored database may need them. Empty without the folder. */
export async function listPlugins(folder: string): Promise<PluginFile[]> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.jar')).toSorted();
  const files: PluginFile[] = [];
  for (const name of names) {
    const path = join(folder, name);
    const hash = createHash('sha256');
    await pipeline(createReadStream(path), hash);
    files.push({ name, bytes: (await stat(path)).size, sha256: hash.digest('hex') });
  }
  return files;
}
