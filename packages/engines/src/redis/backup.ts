import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type ArtifactSink, type BackupFacts, type BackupRequest, type EngineContext, Failure } from '@lastgood/core';
import { type Finding, makeFinding } from '@lastgood/protocol';
import { CONTENT, RDB, rdbOptionsSchema } from './backup-method.ts';
import { toFinding } from './catalog-findings.ts';
import { type CapturedConfig, captureConfig } from './config-files.ts';
import type { RedisConnection } from './connection-schema.ts';
import { FanOut } from './fan-out.ts';
import { compareFingerprints, fingerprintOf, type RedisFingerprint, snapshotTimeOf } from './fingerprint.ts';
import { type OpenServer, openServer, refuseUnfitSource, systemIdOf, waitingClockOf } from './open-server.ts';
import { findServerProgram } from './programs.ts';
import { copyRdbFile } from './rdb-file.ts';
import { judgeRdb, type RdbReport } from './rdb-report.ts';
import { readFingerprint } from './read-fingerprint.ts';
import { dumpByReplication } from './replication-dump.ts';
import { SCRATCH_FILES, startScratchServer } from './scratch-server.ts';
import { rdbPathOf, serverFilesOf } from './server-files.ts';
import { takeSnapshot } from './snapshot.ts';
import type { EngineFacts } from './stored-backup.ts';

/** Writes one snapshot of the server into the sink, and walks it. */
type WriteSnapshot = (sink: Writable) => Promise<RdbReport>;

interface BackupRun {
  readonly connection: RedisConnection;
  readonly server: OpenServer;
  readonly sink: ArtifactSink;
  readonly context: EngineContext;
}

/** Lets the server write its snapshot, or prepares to fetch one as a replica does. */
async function prepareSnapshot({ connection, server, context }: BackupRun): Promise<WriteSnapshot> {
  const { session, facts } = server;
  const { signal } = context;
  const onBytes = (doneBytes: number): void => context.progress({ phase: 'dump', doneBytes, totalBytes: null });
  if (!connection.fileAccess)
    return async (sink) => await dumpByReplication({ connection, serverVersion: facts.version, onBytes, signal }, sink);
  const files = serverFilesOf(facts.settings, connection.dataDir);
  if (files === null)
    throw new Failure('DATABASE_REFUSED', 'the agent may not ask the server where its files are', {
      remedy: 'Grant +config|get to the ACL user of the agent, or set fileAccess to false.',
    });
  const { notBefore } = await takeSnapshot(session, {
    clock: waitingClockOf(context),
    signal,
    timeoutMs: connection.snapshotMs,
  });
  return async (sink) => await copyRdbFile({ path: rdbPathOf(files), notBefore, onBytes, signal }, sink);
}

/** Stores the snapshot. `copyTo`: a file that gets the same bytes. */
async function storeSnapshot({ sink }: BackupRun, write: WriteSnapshot, copyTo: string | null): Promise<RdbReport> {
  let report: RdbReport | undefined;
  await sink.add({ role: 'rdb', contents: CONTENT.name, extension: 'rdb' }, async (out) => {
    const copy = copyTo === null ? null : createWriteStream(copyTo, { flags: 'wx', mode: 0o600 });
    report = await write(copy === null ? out : new FanOut([out, copy]));
  });
  if (report === undefined) throw new Failure('TOOL_FAILED', 'no snapshot was stored');
  return report;
}

/** Stores the snapshot and loads it into a scratch server, which returns its digests. */
async function storeWithDigests(
  run: BackupRun,
  write: WriteSnapshot,
): Promise<{ report: RdbReport; fingerprint: RedisFingerprint }> {
  const { connection, server, context } = run;
  const { product, version, memory } = server.facts;
  let report: RdbReport | undefined;
  await using scratch = await startScratchServer({
    program: await findServerProgram(product, version, connection.binDir, context.signal),
    connection,
    kind: 'rdb',
    place: async (dataDir) => {
      report = await storeSnapshot(run, write, join(dataDir, SCRATCH_FILES.rdb));
    },
    needDiskBytes: memory.usedBytes,
    needMemoryBytes: memory.usedBytes,
    clock: waitingClockOf(context),
    signal: context.signal,
  });
  if (report === undefined) throw new Failure('TOOL_FAILED', 'no snapshot was stored');
  const fingerprint = await readFingerprint({
    connection: scratch.connection,
    snapshotAt: snapshotTimeOf(report),
    digests: true,
    signal: context.signal,
    onProgress: (doneItems) => context.progress({ phase: 'fingerprint', doneBytes: 0, totalBytes: null, doneItems }),
  });
  const counted = fingerprintOf(report);
  const differences = counted === null ? [] : compareFingerprints(counted, fingerprint, context.clock.now()).findings;
  if (differences.length > 0)
    throw new Failure('TOOL_FAILED', 'a scratch server holds other keys than the snapshot that it has loaded', {
      remedy: 'Check the memory and the disk of the host, then take the backup again.',
    });
  return { report, fingerprint };
}

const writeJson = (value: unknown) => (sink: Writable) =>
  pipeline(Readable.from([Buffer.from(`${JSON.stringify(value)}\n`)]), sink);

function configFindings({ files, missing }: CapturedConfig): Finding[] {
  const redacted = files.filter(({ leftOut }) => leftOut.length > 0);
  const lines = redacted.flatMap(({ leftOut }) => leftOut.map(({ line, directive }) => `${line} (${directive})`));
  return [
    ...(redacted.length === 0
      ? []
      : [makeFinding('SECRETS_LEFT_OUT', null, { files: redacted.map(({ path }) => path), lines })]),
    ...missing.map(({ path, reason }) => makeFinding('CONFIG_FILE_LEFT_OUT', null, { path, reason })),
  ];
}

/** Stores the configuration and the ACL file without their secrets. An agent without file access cannot read them. */
async function storeConfig({ connection, server, sink, context }: BackupRun): Promise<Finding[]> {
  if (!connection.fileAccess) return [];
  const { configFile, settings } = server.facts;
  const captured = await captureConfig({
    configFile,
    aclFile: settings?.aclfile ?? null,
    keepSecrets: false,
    signal: context.signal,
  });
  await sink.add({ role: 'config', contents: null, extension: 'json' }, writeJson(captured));
  return configFindings(captured);
}

function engineFactsFrom({ server }: BackupRun, report: RdbReport, digests: boolean): EngineFacts {
  const { product, version, memory, modules } = server.facts;
  if (report.format === null) throw new Failure('TOOL_FAILED', 'the snapshot has no format');
  const { databases, moduleTypes } = report.counts;
  const counts = Object.entries(databases).map(([number, { keys, expires }]) => [number, { keys, expires }] as const);
  return {
    product,
    version,
    format: { ...report.format },
    memoryBytes: Number(report.aux['used-mem'] ?? memory.usedBytes),
    evictionPolicy: memory.evictionPolicy,
    databases: report.uncounted === null ? Object.fromEntries(counts) : null,
    moduleTypes: [...moduleTypes],
    modules: modules.map((module) => ({ ...module })),
    digests,
  };
}

/**
 * A snapshot of the whole server with its configuration and fingerprint. The recovery point is the start of the save, by the clock of the
 * server in whole seconds.
 */
export async function backup(
  connection: RedisConnection,
  request: BackupRequest,
  sink: ArtifactSink,
  context: EngineContext,
): Promise<BackupFacts> {
  const { digests } = rdbOptionsSchema.parse(request.options);
  const unknown = (request.contents ?? []).find((name) => name !== CONTENT.name);
  if (unknown !== undefined)
    throw new Failure('BAD_INPUT', `a backup holds the whole server, not "${unknown}" alone`, {
      remedy: 'Back up without --database.',
    });
  context.progress({ phase: 'snapshot', doneBytes: 0, totalBytes: null });
  const startedAt = context.clock.now();
  await using server = await openServer(connection, context.signal);
  refuseUnfitSource(server.facts);
  const run: BackupRun = { connection, server, sink, context };
  const write = await prepareSnapshot(run);
  const taken = digests ? await storeWithDigests(run, write) : { report: await storeSnapshot(run, write, null) };
  const { report } = taken;
  const fingerprint = 'fingerprint' in taken ? taken.fingerprint : fingerprintOf(report);
  if (fingerprint !== null)
    await sink.add({ role: 'fingerprint', contents: CONTENT.name, extension: 'json' }, writeJson(fingerprint));
  const configured = await storeConfig(run);
  const { product, version } = server.facts;
  return {
    method: RDB.method,
    recoveryPoint: new Date(snapshotTimeOf(report) || startedAt).toISOString(),
    contents: [{ ...CONTENT, bytes: report.bytes }],
    dependsOn: [],
    logRange: null,
    tool: { name: connection.fileAccess ? 'BGSAVE' : 'SYNC', version },
    server: { version: `${product} ${version}`, systemId: systemIdOf(server.facts) },
    engineFacts: engineFactsFrom(run, report, digests),
    warnings: [...judgeRdb(report).map((found) => toFinding(found)), ...configured],
  };
}
