import { createHash } from 'node:crypto';
import { type ArtifactSource, type EngineContext, Failure, type RecoverySource } from '@lastgood/core';
import { freeBytes } from '@lastgood/host';
import {
  type Detail,
  type Finding,
  findingKey,
  makeFinding,
  type Refusal,
  type RestorePlanSummary,
  type RestoreRequest,
} from '@lastgood/protocol';
import { type DumpFacts, dumpFactsOf } from './backup-method.ts';
import { BoltSession, boltTargetOf } from './bolt-session.ts';
import { objectsOf } from './fingerprint-schema.ts';
import { type InstalledServer, listStores, readInstalledServer } from './installed-server.ts';
import { planFindingOf } from './plan-findings.ts';
import { planRestore, type RestorePlan } from './restore-plan.ts';
import { listPlugins, readServerFacts } from './server-facts.ts';
import { measureStore } from './store-copy.ts';
import type { Neo4jTarget } from './target.ts';

const MAX_LISTED = 20;

export interface MadePlan {
  readonly summary: RestorePlanSummary;
  readonly source: ArtifactSource;
  readonly facts: DumpFacts;
  readonly databases: RestorePlan['databases'];
}

const refuse = (message: string, remedy: string): never => {
  throw new Failure('BAD_INPUT', message, { remedy });
};

/** The backup that a request names. Throws BAD_INPUT for a request that dumps cannot fulfill. */
function backupIdOf({ scope, point, into, options }: RestoreRequest): string {
  const [unknown] = Object.keys(options);
  if (unknown !== undefined) return refuse(`a restore has no option "${unknown}"`, 'Leave the option out.');
  if (point.kind !== 'backup') return refuse('a dump holds one recovery point', 'Name a backup.');
  if (scope.kind === 'tables') return refuse('a dump is restored as a whole database', 'Name a database.');
  if (into.way !== 'swap')
    return refuse('a dump is restored beside the old database, then swapped in', 'Restore it with --swap.');
  return point.backupId;
}

/** The server as it runs, or as its files describe it when it does not. */
async function readTarget(
  { connection, paths }: Neo4jTarget,
  signal: AbortSignal,
): Promise<InstalledServer & { readonly isRunning: boolean }> {
  try {
    await using session = await BoltSession.open(await boltTargetOf(connection), signal);
    const { version, edition, databases } = await readServerFacts(session, connection.queryMs);
    const defaultDatabase = databases.find(({ isDefault }) => isDefault)?.name ?? 'neo4j';
    return { version, edition, defaultDatabase, isRunning: true };
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'DATABASE_UNREACHABLE') throw error;
    return { ...(await readInstalledServer(paths)), isRunning: false };
  }
}

/** Plans a restore: reads the backup and the server, and changes nothing. */
export async function makePlan(
  target: Neo4jTarget,
  request: RestoreRequest,
  backups: RecoverySource,
  context: EngineContext,
): Promise<MadePlan> {
  const source = await backups.open(backupIdOf(request));
  const { manifest } = source;
  const facts = dumpFactsOf(manifest);
  const { scope } = request;
  const wanted = scope.kind === 'database' ? [scope.database] : facts.databases.map(({ name }) => name);
  const { store, pluginsFolder } = target.paths;
  const server = await readTarget(target, context.signal);
  const stores: { name: string; bytes: number }[] = [];
  for (const name of await listStores(target.paths))
    stores.push({ name, bytes: (await measureStore(store, name)).bytes });
  const free = Math.min(...(await Promise.all([store.data, store.transactions].map((path) => freeBytes(path)))));
  const plan = planRestore(
    { serverVersion: manifest.server.version, databases: facts.databases, plugins: facts.plugins },
    {
      serverVersion: server.version,
      edition: server.edition,
      defaultDatabase: server.defaultDatabase,
      stores,
      plugins: (await listPlugins(pluginsFolder)).map(({ name }) => name),
      freeBytes: free,
      canControlService: target.service !== null,
      maxPauseSeconds: target.connection.maxPauseSeconds,
    },
    wanted,
  );
  const found = plan.findings.map(planFindingOf);
  const refusals = found.flatMap((each) => (each.kind === 'refusal' ? [each.refusal] : []));
  const warnings = [
    ...(server.isRunning ? [] : [makeFinding('SERVER_NOT_RUNNING', null)]),
    ...found.flatMap((each) => (each.kind === 'warning' ? [each.warning] : [])),
  ];
  const summary = summarize({ target, request, source, plan, server, free, warnings, refusals });
  return { summary, source, facts, databases: plan.databases };
}

interface Planned {
  readonly target: Neo4jTarget;
  readonly request: RestoreRequest;
  readonly source: ArtifactSource;
  readonly plan: RestorePlan;
  readonly server: InstalledServer;
  readonly free: number;
  readonly warnings: readonly Finding[];
  readonly refusals: readonly Refusal[];
}

/** Free space changes all the time: it decides whether a plan is refused, but is not part of its hash. */
const isSpace = ({ code }: Finding): boolean => code === 'SERVER_SPACE_LOW';

function hashPlan({ request, source, plan, server, warnings, refusals }: Planned): string {
  const decided = {
    request,
    manifest: source.manifest.checksum,
    server,
    databases: plan.databases.map(({ name, replaces }) => ({ name, replaces })),
    warnings: warnings.map(findingKey),
    refusals: refusals.filter((each) => !isSpace(each)).map(findingKey),
  };
  return createHash('sha256').update(JSON.stringify(decided)).digest('hex');
}

function summarize(planned: Planned): RestorePlanSummary {
  const { target, request, source, plan, server, free, warnings, refusals } = planned;
  const { manifest } = source;
  const into = request.scope.kind === 'server' ? target.name : plan.databases.map(({ name }) => name).join('+');
  const plugins = warnings.flatMap(({ code, subject }) =>
    code === 'PLUGIN_MISSING' && subject !== null ? [{ kind: subject.kind, name: subject.name }] : [],
  );
  return {
    hash: hashPlan(planned),
    request,
    backupId: manifest.backupId,
    method: manifest.method,
    recoveryPoint: manifest.recoveryPoint,
    into,
    confirm: into,
    replaces: plan.databases.filter(({ replaces }) => replaces).map(({ name }) => name),
    missing: plugins.slice(0, MAX_LISTED),
    readBytes: plan.databases.reduce((sum, { name }) => sum + objectsOf(source, name).dump.stored.size, 0),
    needBytes: plan.spaceNeeded,
    freeBytes: free,
    estimatedMs: null,
    details: detailsOf(plan, manifest.server.version, server),
    warnings: warnings.slice(0, MAX_LISTED),
    refusals: refusals.slice(0, MAX_LISTED),
  };
}

function detailsOf(plan: RestorePlan, backupVersion: string, server: InstalledServer): Detail[] {
  return [
    { label: 'version of the backup', value: backupVersion, unit: 'text' },
    { label: 'version of the server', value: `${server.version} ${server.edition}`, unit: 'text' },
    { label: 'expected downtime', value: plan.expectedDowntimeSeconds * 1_000, unit: 'milliseconds' },
    { label: 'expected preparation', value: plan.expectedPreparationSeconds * 1_000, unit: 'milliseconds' },
    ...plan.databases.flatMap(({ name, lastTransaction, storeFormat, replacedBytes }): Detail[] => [
      { label: `last transaction of ${name}`.slice(0, 64), value: lastTransaction, unit: 'count' },
      { label: `store format of ${name}`.slice(0, 64), value: storeFormat, unit: 'text' },
      { label: `set aside of ${name}`.slice(0, 64), value: replacedBytes, unit: 'bytes' },
    ]),
  ];
}
