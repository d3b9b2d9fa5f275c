import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type ArtifactSink, type BackupFacts, type BackupRequest, type EngineContext, Failure } from '@lastgood/core';
import { type Finding, makeFinding } from '@lastgood/protocol';
import { AOF, backupOptionsSchema, CONTENT } from './backup-method.ts';
import { type CapturedConfig, captureConfig } from './config-files.ts';
import { openServer, refuseUnfitSource, systemIdOf } from './open-server.ts';
import type { ManagedServer } from './server-steps.ts';
import type { EngineFacts } from './stored-backup.ts';
import { takeAof } from './take-aof.ts';
import { takeRdb } from './take-rdb.ts';
import type { BackupRun, TakenBackup } from './taken-backup.ts';

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

function engineFactsFrom({ server, digests }: BackupRun, { rdb, databases }: TakenBackup): EngineFacts {
  const { product, version, memory, modules } = server.facts;
  return {
    product,
    version,
    format: rdb?.format === null || rdb === null ? null : { ...rdb.format },
    memoryBytes: Math.max(memory.usedBytes, Number(rdb?.aux['used-mem'] ?? 0)),
    evictionPolicy: memory.evictionPolicy,
    databases,
    moduleTypes: [...(rdb?.counts.moduleTypes ?? [])],
    modules: modules.map((module) => ({ ...module })),
    digests,
  };
}

/**
 * A backup of the whole server with its configuration and fingerprint. The recovery point is by the clock of the server: the start of the
 * save in whole seconds, or the last instant up to which all writes are in the append-only files.
 */
export async function backup(
  { connection, restoreTests }: Pick<ManagedServer, 'connection' | 'restoreTests'>,
  request: BackupRequest,
  sink: ArtifactSink,
  context: EngineContext,
): Promise<BackupFacts> {
  const { digests } = backupOptionsSchema.parse(request.options);
  const unknown = (request.contents ?? []).find((name) => name !== CONTENT.name);
  if (unknown !== undefined)
    throw new Failure('BAD_INPUT', `a backup holds the whole server, not "${unknown}" alone`, {
      remedy: 'Back up without --database.',
    });
  context.progress({ phase: 'snapshot', doneBytes: 0, totalBytes: null });
  await using server = await openServer(connection, context.signal);
  refuseUnfitSource(server.facts);
  const run: BackupRun = { connection, limits: restoreTests, server, sink, context, digests };
  const taken = request.method === AOF.method ? await takeAof(run) : await takeRdb(run);
  if (taken.fingerprint !== null)
    await sink.add({ role: 'fingerprint', contents: CONTENT.name, extension: 'json' }, writeJson(taken.fingerprint));
  const configured = await storeConfig(run);
  const { product, version } = server.facts;
  return {
    method: request.method,
    recoveryPoint: new Date(taken.recoveryPoint).toISOString(),
    contents: [{ ...CONTENT, bytes: taken.bytes }],
    dependsOn: [],
    logRange: null,
    tool: { name: taken.tool, version },
    server: { version: `${product} ${version}`, systemId: systemIdOf(server.facts) },
    engineFacts: engineFactsFrom(run, taken),
    warnings: [...taken.warnings, ...configured],
  };
}
