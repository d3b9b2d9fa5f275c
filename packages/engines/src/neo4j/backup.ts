import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  type ArtifactMeta,
  type ArtifactSink,
  type BackupFacts,
  type BackupRequest,
  type EngineContext,
  Failure,
  unreachable,
} from '@lastgood/core';
import { type Finding, makeFinding } from '@lastgood/protocol';
import { DUMP, type DumpFacts, dumpOptionsSchema, type SupportedWay } from './backup-method.ts';
import type { BackupRun, LiveFingerprint, TakenBackup } from './backup-run.ts';
import { BoltSession, boltTargetOf } from './bolt-session.ts';
import { chooseWay } from './choose-way.ts';
import { backUpCopy } from './copy-backup.ts';
import { readFingerprint } from './fingerprint.ts';
import { type DatabaseFacts, listPlugins, readServerFacts, type ServerFacts } from './server-facts.ts';
import { backUpStopped } from './stopped-backup.ts';
import { SYSTEM_DATABASE } from './store-folders.ts';
import { systemIdOf } from './system-id.ts';
import { adminContextOf, type Neo4jTarget } from './target.ts';

/** Takes a backup in the best possible way, or in the one that the options name. */
export async function backup(
  target: Neo4jTarget,
  request: Pick<BackupRequest, 'contents' | 'options'>,
  sink: ArtifactSink,
  context: EngineContext,
): Promise<BackupFacts> {
  const options = dumpOptionsSchema.parse(request.options);
  const admin = await adminContextOf(target, context.signal);
  context.progress({ phase: 'fingerprint', doneBytes: 0, totalBytes: null });
  const { server, databases, skipped, live } = await readServer(target, request.contents, options.digests, context);
  const way = await chooseWay(target, server, options.way, admin);
  const run: BackupRun = { target, admin, databases, digests: options.digests, live, sink, context };
  context.progress({ phase: 'dump', doneBytes: 0, totalBytes: null });
  const taken = await takeBackup(way, run);
  for (const [contents, fingerprint] of taken.fingerprints)
    await addJson(sink, { role: 'fingerprint', contents, extension: 'json' }, fingerprint);
  const plugins = await listPlugins(target.paths.pluginsFolder);
  const configuration = { settings: server.settings, plugins };
  await addJson(sink, { role: 'configuration', contents: null, extension: 'json' }, configuration);
  const warnings = [...skipped.map(reportOffline), ...uncountedOf(taken)];
  const facts = manifestFacts(
    run,
    server,
    way,
    taken,
    plugins.map(({ name }) => name),
  );
  return {
    method: DUMP.method,
    recoveryPoint: new Date(taken.takenAt).toISOString(),
    contents: taken.dumped.map(({ name, dumpBytes }) => ({ kind: 'database', name, bytes: dumpBytes })),
    dependsOn: [],
    logRange: null,
    tool: { name: 'neo4j-admin', version: server.version },
    server: { version: server.version, systemId: systemIdOf(server) },
    engineFacts: facts,
    warnings,
  };
}

interface ServerReading {
  readonly server: ServerFacts;
  readonly databases: readonly DatabaseFacts[];
  /** Databases that are not in a backup of everything, because they are not online. */
  readonly skipped: readonly DatabaseFacts[];
  readonly live: ReadonlyMap<string, LiveFingerprint>;
}

async function readServer(
  { connection }: Neo4jTarget,
  wanted: readonly string[] | null,
  digests: boolean,
  { signal }: EngineContext,
): Promise<ServerReading> {
  const { queryMs } = connection;
  await using session = await BoltSession.open(await boltTargetOf(connection), signal);
  const server = await readServerFacts(session, queryMs);
  const databases = chooseDatabases(server, wanted);
  const live = new Map<string, LiveFingerprint>();
  for (const { name, lastTransaction } of databases) {
    if (name === SYSTEM_DATABASE || lastTransaction === null) continue;
    const fingerprint = await readFingerprint(session, name, { digests, queryMs });
    live.set(name, { transaction: lastTransaction, fingerprint });
  }
  return { server, databases, skipped: wanted === null ? skippedOf(server) : [], live };
}

const isOnline = ({ status }: DatabaseFacts): boolean => status === 'online';
const skippedOf = ({ databases }: ServerFacts): DatabaseFacts[] => databases.filter((each) => !isOnline(each));

/** Throws NOT_FOUND for an unknown name, and DATABASE_ERROR when a database that must be in the backup is not online. */
function chooseDatabases({ databases }: ServerFacts, wanted: readonly string[] | null): DatabaseFacts[] {
  const chosen =
    wanted === null
      ? databases.filter((each) => isOnline(each) || each.isDefault)
      : [...new Set(wanted)].map((name) => {
          const found = databases.find((database) => database.name === name);
          if (found === undefined) throw new Failure('NOT_FOUND', `the server has no database "${name}"`);
          return found;
        });
  const offline = chosen.find((each) => !isOnline(each));
  if (offline !== undefined)
    throw new Failure('DATABASE_ERROR', `database "${offline.name}" is ${offline.status}`, {
      remedy: 'Read the log of the server (debug.log), and bring the database online or restore it.',
    });
  return chosen;
}

async function takeBackup(way: SupportedWay, run: BackupRun): Promise<TakenBackup> {
  switch (way) {
    case 'stop-dump-start':
      return await backUpStopped(run);
    case 'freeze-copy':
    case 'stop-copy-start':
      return await backUpCopy(run, way);
    default:
      return unreachable(way);
  }
}

async function addJson(sink: ArtifactSink, meta: ArtifactMeta, value: object): Promise<void> {
  await sink.add(meta, (stream) => pipeline(Readable.from([Buffer.from(`${JSON.stringify(value)}\n`)]), stream));
}

const reportOffline = ({ name, status }: DatabaseFacts): Finding =>
  makeFinding('DATABASE_OFFLINE', { kind: 'database', name }, { status });
const uncountedOf = ({ dumped, fingerprints }: TakenBackup): Finding[] =>
  dumped
    .filter(({ name }) => name !== SYSTEM_DATABASE && !fingerprints.has(name))
    .map(({ name }) => makeFinding('GRAPH_NOT_COUNTED', { kind: 'database', name }));

function manifestFacts(
  { digests }: BackupRun,
  { edition, databases }: ServerFacts,
  way: SupportedWay,
  { dumped, fingerprints, pauseMs }: TakenBackup,
  plugins: string[],
): DumpFacts {
  const graphs = dumped.filter(({ name }) => name !== SYSTEM_DATABASE);
  return {
    way,
    pauseMs: Math.round(pauseMs),
    digests: digests && graphs.every(({ name }) => fingerprints.has(name)),
    edition,
    defaultDatabase: databases.find(({ isDefault }) => isDefault)?.name ?? 'neo4j',
    plugins,
    databases: dumped.map(({ name, storeFormat, storeBytes, lastTransaction }) => ({
      name,
      storeFormat,
      storeBytes,
      lastTransaction,
      nodes: fingerprints.get(name)?.nodes ?? null,
      relationships: fingerprints.get(name)?.relationships ?? null,
    })),
  };
}
