import { createHash } from 'node:crypto';
import { type ArtifactSource, type EngineContext, Failure, type RecoverySource } from '@lastgood/core';
import { freeBytes } from '@lastgood/host';
import {
  type Detail,
  type Finding,
  type FindingCode,
  findingKey,
  makeFinding,
  makeRefusal,
  type Refusal,
  type RestorePlanSummary,
  type RestoreRequest,
} from '@lastgood/protocol';
import { toFinding, toRefusal } from './catalog-findings.ts';
import { captureConfig } from './config-files.ts';
import type { RedisConnection } from './connection-schema.ts';
import { findServer, systemIdOf } from './open-server.ts';
import { type LoadSetting, unpersistedSettings } from './persisted-settings.ts';
import { requireMovable } from './restore-files.ts';
import { planRestore, type RedisRestorePlan, type RestoreFilesWay } from './restore-plan.ts';
import { availableMemory } from './scratch-host.ts';
import type { ServerFacts } from './server-facts.ts';
import { serverFilesOf } from './server-files.ts';
import type { StoppedServerHints } from './stopped-server.ts';
import {
  dataObjectsOf,
  type EngineFacts,
  engineFactsOf,
  keysOf,
  readStoredConfig,
  restoreSourceOf,
  sumOf,
} from './stored-backup.ts';

/** A server as the agent file describes it. */
export interface RestoreContext {
  readonly connection: RedisConnection;
  /** The name of the target. */
  readonly target: string;
  readonly hasService: boolean;
}
export interface MadePlan {
  readonly summary: RestorePlanSummary;
  readonly source: ArtifactSource;
  readonly facts: EngineFacts;
  readonly decided: RedisRestorePlan;
  /** Whether the server ran when the plan was made. */
  readonly isRunning: boolean;
  /** The version of the server that is restored. */
  readonly server: Pick<ServerFacts, 'product' | 'version'>;
}

/** What changes all the time decides whether a restore is refused, but is not part of the hash of the plan. */
const VOLATILE: readonly FindingCode[] = [
  'SERVER_SPACE_LOW',
  'MEMORY_OF_HOST',
  'SERVER_IS_LOADING',
  'SCRATCH_TEST_NEEDS_MEMORY',
  'UNSAVED_CHANGES',
];
const stable = (findings: readonly Finding[]): string[] =>
  findings.filter(({ code }) => !VOLATILE.some((each) => each === code)).map(findingKey);

/** The backup that a request names. Throws BAD_INPUT for a request that snapshots cannot fulfill. */
export function backupIdOf({ scope, point, into, options }: RestoreRequest): string {
  const refuse = (message: string, remedy: string): never => {
    throw new Failure('BAD_INPUT', message, { remedy });
  };
  const [unknown] = Object.keys(options);
  if (unknown !== undefined) return refuse(`a restore has no option "${unknown}"`, 'Restore without it.');
  if (scope.kind !== 'server')
    return refuse('a backup of this engine is restored as a whole', 'Restore without --database.');
  if (into.way !== 'swap')
    return refuse(
      `a backup of this engine is not restored this way (${into.way})`,
      'Use --swap: the files of the server are set aside, and undo brings them back.',
    );
  if (point.kind !== 'backup') return refuse('a backup of this engine holds one recovery point', 'Name a backup.');
  return point.backupId;
}

interface Unpersisted {
  readonly settings: readonly LoadSetting[];
  readonly warnings: readonly Finding[];
}
const NOTHING_UNPERSISTED: Unpersisted = { settings: [], warnings: [] };

/** What a backup tells about a server that is not running. */
async function hintsOf(source: ArtifactSource, signal: AbortSignal): Promise<StoppedServerHints> {
  const files = await readStoredConfig(source, signal);
  const { product } = engineFactsOf(source.manifest);
  return { configFiles: files.filter(({ kind }) => kind === 'config').map(({ path }) => path), product };
}

/** Settings that a restart would change, from the configuration files of the server. */
async function findUnpersisted(
  { configFile, settings }: ServerFacts,
  { fileAccess }: RedisConnection,
  signal: AbortSignal,
): Promise<Unpersisted> {
  const unknown = (path: string): Unpersisted => ({
    settings: [],
    warnings: [makeFinding('CONFIG_NOT_READ', null, { path })],
  });
  if (settings === null || !fileAccess) return NOTHING_UNPERSISTED;
  if (configFile === null) return unknown('of the server (it was started without one)');
  const { files, missing } = await captureConfig({ configFile, aclFile: null, keepSecrets: false, signal });
  const [first] = missing;
  if (first !== undefined) return unknown(first.path);
  return {
    settings: unpersistedSettings(
      settings,
      files.map(({ text }) => text),
    ),
    warnings: [],
  };
}

const WAYS: Readonly<Record<RestoreFilesWay, string>> = {
  plain: 'as the RDB file',
  seed: 'as the base file of a new append-only set',
  set: 'as the append-only set',
};

function detailsOf(
  source: EngineFacts,
  isRunning: boolean,
  server: ServerFacts,
  { way, saveBeforeStop }: RedisRestorePlan,
): Detail[] {
  const present = Object.values(server.keyspace).reduce((sum, { keys }) => sum + keys, 0);
  const held = keysOf(source);
  return [
    { label: 'version of the backup', value: `${source.product} ${source.version}`, unit: 'text' },
    { label: 'version of the server', value: `${server.product} ${server.version}`, unit: 'text' },
    ...(held === null ? [] : [{ label: 'keys in the backup', value: held, unit: 'count' } as const]),
    ...(isRunning ? [{ label: 'keys on the server now', value: present, unit: 'count' } as const] : []),
    { label: 'memory for the data', value: source.memoryBytes, unit: 'bytes' },
    { label: 'files are put back', value: WAYS[way], unit: 'text' },
    {
      label: 'snapshot before the stop',
      value: saveBeforeStop ? 'yes, so that undo loses little' : 'no',
      unit: 'text',
    },
  ];
}

function refusalsOf({ connection, hasService }: RestoreContext, { refusals }: RedisRestorePlan): Refusal[] {
  return [
    ...(hasService ? [] : [makeRefusal('SERVICE_NOT_NAMED', null)]),
    ...(connection.fileAccess ? [] : [makeRefusal('SERVER_FILES_OUT_OF_REACH', null)]),
    ...refusals.map(toRefusal),
  ];
}

/** The hash that consent is bound to: computed from data, never from sentences. */
function hashPlan(
  { manifest }: ArtifactSource,
  server: ServerFacts,
  { way, files }: RedisRestorePlan,
  found: { readonly refusals: readonly Refusal[]; readonly warnings: readonly Finding[] },
): string {
  const decided = {
    backupId: manifest.backupId,
    manifest: manifest.checksum,
    systemId: systemIdOf(server),
    server: [server.product, server.version],
    way,
    files,
    refusals: stable(found.refusals),
    warnings: stable(found.warnings),
  };
  return createHash('sha256').update(JSON.stringify(decided)).digest('hex');
}

/** Plans the restore of a whole server. Reads the backup and the server, and changes nothing. */
export async function makePlan(
  restore: RestoreContext,
  request: RestoreRequest,
  backups: RecoverySource,
  { signal }: EngineContext,
): Promise<MadePlan> {
  const { connection, target } = restore;
  const source = await backups.open(backupIdOf(request));
  const { manifest } = source;
  const facts = engineFactsOf(manifest);
  await using server = await findServer(connection, () => hintsOf(source, signal), signal);
  const isRunning = server.session !== null;
  // A stopped server has no other settings than those of its files.
  const unpersisted = isRunning ? await findUnpersisted(server.facts, connection, signal) : NOTHING_UNPERSISTED;
  const files = connection.fileAccess ? serverFilesOf(server.facts.settings, connection.dataDir) : null;
  const free = files === null ? null : await freeBytes(files.dir);
  if (files !== null) await requireMovable(files);
  const decided = planRestore(restoreSourceOf(manifest), {
    facts: server.facts,
    dataDir: connection.dataDir,
    unpersisted: unpersisted.settings,
    freeDiskBytes: free ?? Number.MAX_SAFE_INTEGER,
    availableMemoryBytes: await availableMemory(),
  });
  const refusals = refusalsOf(restore, decided);
  const warnings = [
    isRunning
      ? makeFinding('SERVER_WILL_STOP', { kind: 'target', name: target })
      : makeFinding('SERVER_NOT_RUNNING', null),
    ...unpersisted.warnings,
    ...decided.warnings.map((found) => toFinding(found)),
  ];
  const summary: RestorePlanSummary = {
    hash: hashPlan(source, server.facts, decided, { refusals, warnings }),
    request,
    backupId: manifest.backupId,
    method: manifest.method,
    recoveryPoint: manifest.recoveryPoint,
    into: target,
    confirm: target,
    replaces: [target],
    missing: [],
    readBytes: sumOf(dataObjectsOf(manifest), 'stored'),
    needBytes: decided.needDiskBytes,
    freeBytes: free,
    estimatedMs: null,
    details: detailsOf(facts, isRunning, server.facts, decided),
    warnings,
    refusals,
  };
  const { product, version } = server.facts;
  return { summary, source, facts, decided, isRunning, server: { product, version } };
}
