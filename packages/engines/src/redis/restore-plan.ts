import { canLoadRdb, canReplayCommands, type RdbFormat } from './compatibility.ts';
import type { LoadSetting } from './persisted-settings.ts';
import { parseVersion } from './programs.ts';
import type { DatabaseCount } from './rdb-report.ts';
import type { Product, ServerFacts } from './server-facts.ts';
import { type ServerFiles, serverFilesOf } from './server-files.ts';

/** What a backup holds, as its manifest describes it. */
export interface RestoreSource {
  readonly method: 'rdb' | 'aof';
  readonly product: Product;
  readonly version: string;
  /** Of the RDB file, or of the base file of an append-only set; null for a base file of commands. */
  readonly format: RdbFormat | null;
  /** All files together, as produced. */
  readonly bytes: number;
  /** What the data took in the memory of the source. */
  readonly memoryBytes: number;
  readonly evictionPolicy: string | null;
  readonly databases: Readonly<Record<string, DatabaseCount>>;
  /** Types of modules that the files need, and the modules that the source had loaded. */
  readonly moduleTypes: readonly string[];
  readonly modules: readonly { readonly name: string; readonly version: string }[];
}

/** The server that is restored, and its host. */
export interface RestoreTarget {
  readonly facts: ServerFacts;
  /** `dataDir` of the connection. */
  readonly dataDir: string | undefined;
  /** Settings that a restart would change; see `unpersistedSettings`. */
  readonly unpersisted: readonly LoadSetting[];
  readonly freeDiskBytes: number;
  /** Memory that programs may still take while the server runs; null when the host does not report it. */
  readonly availableMemoryBytes: number | null;
}

/**
 * How the files get loaded. `seed`: the RDB file becomes the base file of a new append-only set, for with `appendonly yes` a server
 * ignores the RDB file and starts empty. `plain`: it becomes the RDB file. `set`: the append-only files are put back.
 */
export type RestoreFilesWay = 'seed' | 'plain' | 'set';

/** Why the server cannot be restored as it is. The catalog of findings has the remedies. */
export type RestoreRefusalCode =
  | 'SERVER_IS_LOADING'
  | 'SERVER_IS_REPLICA'
  | 'SERVER_HAS_REPLICAS'
  | 'SERVER_WATCHED_BY_SENTINEL'
  | 'SERVER_IS_SENTINEL'
  | 'SERVER_IS_CLUSTER_NODE'
  | 'SERVER_SETTINGS_UNKNOWN'
  | 'SETTING_NOT_PERSISTED'
  | 'APPENDONLY_OFF'
  | 'FORMAT_NOT_READABLE'
  | 'COMMANDS_NOT_UNDERSTOOD'
  | 'MODULE_MISSING'
  | 'TOO_FEW_DATABASES'
  | 'MEMORY_LIMIT'
  | 'MEMORY_OF_HOST'
  | 'SERVER_SPACE_LOW';
/** What a person should know before consenting. */
export type RestoreWarningCode =
  | 'SENTINEL_UNKNOWN'
  | 'FORMAT_UNKNOWN'
  | 'MODULE_OLDER'
  | 'EVICTION_POLICY_DIFFERS'
  | 'SCRATCH_TEST_NEEDS_MEMORY'
  | 'UNSAVED_CHANGES';

export interface PlanFinding<Code extends string> {
  readonly code: Code;
  readonly params: Readonly<Record<string, number | string>>;
}
export interface RedisRestorePlan {
  readonly way: RestoreFilesWay;
  /** Where the files go; null when the settings of the server are not known. */
  readonly files: ServerFiles | null;
  readonly refusals: readonly PlanFinding<RestoreRefusalCode>[];
  readonly warnings: readonly PlanFinding<RestoreWarningCode>[];
  readonly needDiskBytes: number;
  readonly needMemoryBytes: number;
  /** The server must write its data once more before it stops, so that undo brings back all of it. */
  readonly saveBeforeStop: boolean;
}

/** Modules that are part of a server of some version, by name. */
const BUILT_IN = new Set(['lua', 'vectorset']);

/** Decides how a backup is put back and what stands against it. */
export function planRestore(source: RestoreSource, target: RestoreTarget): RedisRestorePlan {
  const { facts } = target;
  const refusals: PlanFinding<RestoreRefusalCode>[] = [
    ...refuseTopology(facts),
    ...refuseSettings(source, target),
    ...refuseFormat(source, facts),
    ...refuseModules(source, facts),
    ...refuseResources(source, target),
  ];
  return {
    way: wayOf(source, facts),
    files: serverFilesOf(facts.settings, target.dataDir),
    refusals,
    warnings: warningsOf(source, target),
    needDiskBytes: source.bytes,
    needMemoryBytes: source.memoryBytes,
    // With the AOF on, every write is in its files already.
    saveBeforeStop: !facts.isAofEnabled && (facts.changesSinceSave ?? 1) > 0,
  };
}

function wayOf({ method }: RestoreSource, { isAofEnabled }: ServerFacts): RestoreFilesWay {
  if (method === 'aof') return 'set';
  return isAofEnabled ? 'seed' : 'plain';
}

type Refusal = PlanFinding<RestoreRefusalCode>;
const refuse = (code: RestoreRefusalCode, params: Refusal['params'] = {}): Refusal => ({ code, params });

function refuseTopology(facts: ServerFacts): Refusal[] {
  return [
    ...(facts.isLoading ? [refuse('SERVER_IS_LOADING')] : []),
    ...(facts.mode === 'sentinel' ? [refuse('SERVER_IS_SENTINEL')] : []),
    ...(facts.mode === 'cluster' ? [refuse('SERVER_IS_CLUSTER_NODE')] : []),
    ...(facts.role === 'replica' ? [refuse('SERVER_IS_REPLICA')] : []),
    ...(facts.connectedReplicas > 0 ? [refuse('SERVER_HAS_REPLICAS', { replicas: facts.connectedReplicas })] : []),
    ...(facts.isWatchedBySentinel === true ? [refuse('SERVER_WATCHED_BY_SENTINEL')] : []),
  ];
}

function refuseSettings({ method, databases }: RestoreSource, { facts, unpersisted }: RestoreTarget): Refusal[] {
  const { settings } = facts;
  if (settings === null || settings.dir === undefined) return [refuse('SERVER_SETTINGS_UNKNOWN')];
  const least = Math.max(0, ...Object.keys(databases).map(Number)) + 1;
  const most = Number(settings.databases ?? Number.POSITIVE_INFINITY);
  return [
    ...unpersisted.map((setting) => refuse('SETTING_NOT_PERSISTED', { setting })),
    ...(method === 'aof' && !facts.isAofEnabled ? [refuse('APPENDONLY_OFF')] : []),
    ...(least > most ? [refuse('TOO_FEW_DATABASES', { need: least, have: most })] : []),
  ];
}

function refuseFormat(source: RestoreSource, facts: ServerFacts): Refusal[] {
  const server = { product: facts.product, version: parseVersion(facts.version) };
  const writer = { product: source.product, version: parseVersion(source.version) };
  const params = {
    writer: `${source.product} ${source.version}`,
    server: `${facts.product} ${facts.version}`,
  };
  const { format } = source;
  return [
    ...(format !== null && canLoadRdb(server, format) === 'no'
      ? [refuse('FORMAT_NOT_READABLE', { ...params, format: `${format.magic}${format.version}` })]
      : []),
    ...(source.method === 'aof' && canReplayCommands(server, writer) === 'no'
      ? [refuse('COMMANDS_NOT_UNDERSTOOD', params)]
      : []),
  ];
}

/** The modules that the source had and the files need, beside what servers bring along. */
function neededModules({ moduleTypes, modules }: RestoreSource): RestoreSource['modules'] {
  const isNeeded = moduleTypes.some((type) => !BUILT_IN.has(type));
  return isNeeded ? modules.filter(({ name }) => !BUILT_IN.has(name)) : [];
}

function refuseModules(source: RestoreSource, facts: ServerFacts): Refusal[] {
  const present = new Set(facts.modules.map(({ name }) => name));
  const missing = neededModules(source).filter(({ name }) => !present.has(name));
  const builtIn = source.moduleTypes.filter((type) => BUILT_IN.has(type) && !present.has(type));
  return [
    ...missing.map(({ name, version }) => refuse('MODULE_MISSING', { name, version })),
    ...builtIn.map((name) => refuse('MODULE_MISSING', { name, version: '' })),
  ];
}

function refuseResources({ bytes, memoryBytes }: RestoreSource, target: RestoreTarget): Refusal[] {
  const { limitBytes, usedBytes } = target.facts.memory;
  const { availableMemoryBytes, freeDiskBytes } = target;
  // The server gives back what it uses now.
  const host = availableMemoryBytes === null ? null : availableMemoryBytes + usedBytes;
  return [
    ...(limitBytes > 0 && memoryBytes > limitBytes
      ? [refuse('MEMORY_LIMIT', { needBytes: memoryBytes, limitBytes })]
      : []),
    ...(host !== null && memoryBytes > host
      ? [refuse('MEMORY_OF_HOST', { needBytes: memoryBytes, availableBytes: host })]
      : []),
    ...(bytes > freeDiskBytes ? [refuse('SERVER_SPACE_LOW', { needed: bytes, free: freeDiskBytes })] : []),
  ];
}

function warningsOf(source: RestoreSource, target: RestoreTarget): PlanFinding<RestoreWarningCode>[] {
  const { facts, availableMemoryBytes } = target;
  const server = { product: facts.product, version: parseVersion(facts.version) };
  const writer = { product: source.product, version: parseVersion(source.version) };
  const warn = (
    code: RestoreWarningCode,
    params: PlanFinding<string>['params'] = {},
  ): PlanFinding<RestoreWarningCode> => ({ code, params });
  const isUnknown =
    (source.format !== null && canLoadRdb(server, source.format) === 'unknown') ||
    (source.method === 'aof' && canReplayCommands(server, writer) === 'unknown');
  const { evictionPolicy } = facts.memory;
  return [
    ...(facts.isWatchedBySentinel === null ? [warn('SENTINEL_UNKNOWN')] : []),
    ...(isUnknown ? [warn('FORMAT_UNKNOWN', { server: `${facts.product} ${facts.version}` })] : []),
    ...olderModules(source, facts).map((params) => warn('MODULE_OLDER', params)),
    ...(source.evictionPolicy !== null && source.evictionPolicy !== evictionPolicy
      ? [warn('EVICTION_POLICY_DIFFERS', { source: source.evictionPolicy, server: evictionPolicy ?? '' })]
      : []),
    ...(availableMemoryBytes !== null && source.memoryBytes > availableMemoryBytes
      ? [warn('SCRATCH_TEST_NEEDS_MEMORY', { needBytes: source.memoryBytes, availableBytes: availableMemoryBytes })]
      : []),
    ...(!facts.isAofEnabled && facts.lastSaveFailed
      ? [warn('UNSAVED_CHANGES', { changes: facts.changesSinceSave ?? 0 })]
      : []),
  ];
}

function olderModules(source: RestoreSource, facts: ServerFacts): Record<string, string>[] {
  const present = new Map(facts.modules.map(({ name, version }) => [name, version]));
  return neededModules(source).flatMap(({ name, version }) => {
    const have = present.get(name);
    return have !== undefined && Number(have) < Number(version) ? [{ name, source: version, server: have }] : [];
  });
}
