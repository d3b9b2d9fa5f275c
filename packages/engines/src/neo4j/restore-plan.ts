import type { Edition } from './server-facts.ts';
import { SYSTEM_DATABASE } from './store-folders.ts';

/** One database of a backup, as its manifest records it. */
export interface BackedUpDatabase {
  readonly name: string;
  readonly storeFormat: string;
  /** Size of the unpacked store. */
  readonly storeBytes: number;
  readonly lastTransaction: number;
}
export interface RestoreSource {
  readonly serverVersion: string;
  readonly databases: readonly BackedUpDatabase[];
  /** Names of the jars in the plugins folder. */
  readonly plugins: readonly string[];
}
/** The server that the restore changes. */
export interface RestoreTarget {
  readonly serverVersion: string;
  readonly edition: Edition;
  readonly defaultDatabase: string;
  /** The databases that have a store, with its size. */
  readonly stores: readonly { readonly name: string; readonly bytes: number }[];
  readonly plugins: readonly string[];
  /** Free space where the stores are. */
  readonly freeBytes: number;
  readonly canControlService: boolean;
  readonly maxPauseSeconds: number;
  /** Measured for this target; the defaults are those of a stock server on two cores. */
  readonly stopSeconds?: number;
  readonly startSeconds?: number;
}

export type RestoreFindingCode =
  | 'database-not-in-backup'
  /** A server does not read the store of a newer release. */
  | 'server-older-than-backup'
  | 'server-patch-older-than-backup'
  | 'unknown-version'
  /** Only Enterprise reads the format. */
  | 'store-format-unsupported'
  /** Community mounts the default database and no other. */
  | 'not-the-default-database'
  | 'no-space'
  | 'no-service-control'
  | 'pause-too-long'
  /** The backup had a plugin that the server does not have. */
  | 'plugin-missing'
  /** Users, roles and their passwords are replaced by those of the backup. */
  | 'replaces-users'
  | 'keeps-users';

export interface RestoreFinding {
  readonly code: RestoreFindingCode;
  readonly severity: 'refusal' | 'warning' | 'notice';
  /** The database, plugin or version that it is about; numbers are bytes or seconds. */
  readonly params: Readonly<Record<string, string | number>>;
}
export interface RestorePlan {
  readonly databases: readonly (BackedUpDatabase & { readonly replaces: boolean; readonly replacedBytes: number })[];
  readonly spaceNeeded: number;
  /** How long (s) the server is expected to be down; loading and checking happen while it runs. */
  readonly expectedDowntimeSeconds: number;
  /** How long (s) loading and checking are expected to take. */
  readonly expectedPreparationSeconds: number;
  readonly findings: readonly RestoreFinding[];
}

const STOP_SECONDS = 16;
const START_SECONDS = 18;
const RENAME_SECONDS = 1;
const TOOL_SECONDS = 6;
const LOAD_BYTES_PER_SECOND = 100 * 1024 * 1024;
const CHECK_BYTES_PER_SECOND = 5 * 1024 * 1024;
/** The loaded store, and transaction logs that grow until the old one is removed. */
const SPACE_FACTOR = 1.1;
const COMMUNITY_FORMATS = /^record-(?:aligned|standard)-/;

/** Decides what a restore of some databases of a backup would do. Everything comes in as data; a plan with a refusal is not carried out. */
export function planRestore(source: RestoreSource, target: RestoreTarget, wanted: readonly string[]): RestorePlan {
  const chosen = source.databases.filter(({ name }) => wanted.includes(name));
  const bytes = chosen.reduce((sum, { storeBytes }) => sum + storeBytes, 0);
  const spaceNeeded = Math.ceil(bytes * SPACE_FACTOR);
  const expectedDowntimeSeconds =
    (target.stopSeconds ?? STOP_SECONDS) + RENAME_SECONDS + (target.startSeconds ?? START_SECONDS);
  const preparation = bytes / LOAD_BYTES_PER_SECOND + bytes / CHECK_BYTES_PER_SECOND + chosen.length * TOOL_SECONDS;
  return {
    databases: chosen.map((database) => {
      const old = target.stores.find(({ name }) => name === database.name);
      return { ...database, replaces: old !== undefined, replacedBytes: old?.bytes ?? 0 };
    }),
    spaceNeeded,
    expectedDowntimeSeconds,
    expectedPreparationSeconds: Math.ceil(preparation),
    findings: [
      ...wanted.filter((name) => !chosen.some((database) => database.name === name)).map(notInBackup),
      ...compareVersions(source.serverVersion, target.serverVersion),
      ...chosen.flatMap((database) => assessDatabase(database, target)),
      ...(chosen.some(({ name }) => name === SYSTEM_DATABASE) ? [] : [keepsUsers]),
      ...assessHost(target, spaceNeeded, expectedDowntimeSeconds),
      ...source.plugins.filter((name) => !hasPlugin(target.plugins, name)).map(pluginMissing),
    ],
  };
}

const refusal = (code: RestoreFindingCode, params: RestoreFinding['params']): RestoreFinding => ({
  code,
  severity: 'refusal',
  params,
});
const warning = (code: RestoreFindingCode, params: RestoreFinding['params']): RestoreFinding => ({
  code,
  severity: 'warning',
  params,
});
/** A restored database without `system` meets the users and roles that the server has now. */
const keepsUsers: RestoreFinding = { code: 'keeps-users', severity: 'notice', params: {} };
const notInBackup = (database: string): RestoreFinding => refusal('database-not-in-backup', { database });
const pluginMissing = (plugin: string): RestoreFinding => warning('plugin-missing', { plugin });

/** `5.26.30` and `2025.12.1`: the first two numbers are the release, the third its patch. */
function parseVersion(version: string): [release: number, patch: number] | null {
  const [, major, minor, patch] = /^(\d+)\.(\d+)\.(\d+)/.exec(version) ?? [];
  return patch === undefined ? null : [Number(major) * 1_000 + Number(minor), Number(patch)];
}

function compareVersions(backup: string, server: string): RestoreFinding[] {
  const params = { backup, server };
  const [made, runs] = [parseVersion(backup), parseVersion(server)];
  if (made === null || runs === null) return [refusal('unknown-version', params)];
  if (runs[0] < made[0]) return [refusal('server-older-than-backup', params)];
  return runs[0] === made[0] && runs[1] < made[1] ? [warning('server-patch-older-than-backup', params)] : [];
}

function assessDatabase({ name, storeFormat }: BackedUpDatabase, target: RestoreTarget): RestoreFinding[] {
  const found: RestoreFinding[] = [];
  if (target.edition !== 'enterprise' && !COMMUNITY_FORMATS.test(storeFormat))
    found.push(refusal('store-format-unsupported', { database: name, storeFormat }));
  if (name === SYSTEM_DATABASE) found.push(warning('replaces-users', { database: name }));
  else if (target.edition !== 'enterprise' && name !== target.defaultDatabase)
    found.push(refusal('not-the-default-database', { database: name, default: target.defaultDatabase }));
  return found;
}

function assessHost(target: RestoreTarget, needed: number, downtime: number): RestoreFinding[] {
  const found: RestoreFinding[] = [];
  if (target.freeBytes < needed) found.push(refusal('no-space', { needed, free: target.freeBytes }));
  if (!target.canControlService) found.push(refusal('no-service-control', {}));
  if (downtime > target.maxPauseSeconds)
    // A person consents to the downtime of a restore; the limit is that of backups.
    found.push(warning('pause-too-long', { expected: downtime, allowed: target.maxPauseSeconds }));
  return found;
}

/** The name of a plugin's jar without its version: another version of it may do. */
const stemOf = (jar: string): string => jar.replace(/[-_]?\d[\w.-]*\.jar$|\.jar$/, '');
const hasPlugin = (plugins: readonly string[], name: string): boolean =>
  plugins.some((plugin) => stemOf(plugin) === stemOf(name));
