import { pipeline } from 'node:stream/promises';
import {
  assertConsented,
  type EngineContext,
  Failure,
  type RecoverySource,
  type RestoreOrder,
  type RestoreResult,
} from '@lastgood/core';
import { formatFinding, type ManifestObject } from '@lastgood/protocol';
import { RedisSession } from './client.ts';
import { readInfo } from './info.ts';
import { type MadePlan, makePlan } from './make-plan.ts';
import { waitingClockOf } from './open-server.ts';
import {
  managedFolderName,
  type NewFiles,
  ownershipOf,
  placeFiles,
  type RestoreFilesRequest,
  setAside,
  stageFiles,
  type WriteFile,
} from './restore-files.ts';
import { restoreIdOf } from './restore-id.ts';
import type { ServerFiles } from './server-files.ts';
import { type ManagedServer, requireDown, startServer, stopServer, takeBackBy } from './server-steps.ts';
import { takeSnapshot } from './snapshot.ts';
import { keysOf, rdbObjectOf, readStoredSet } from './stored-backup.ts';
import { verify } from './verify.ts';

interface RestoreRun {
  readonly server: ManagedServer;
  readonly plan: MadePlan;
  readonly request: RestoreFilesRequest;
  readonly context: EngineContext;
}

/** A server of the version that is restored must load the backup before anything is changed. */
async function testBackup({ server, plan, context }: RestoreRun): Promise<void> {
  // The server itself loads the files next: no consent is needed where they cannot be contained.
  const limits = { ...server.restoreTests, allowUncontained: true };
  const { findings } = await verify(4, server.connection, plan.source, context, { limits, loader: plan.server });
  if (findings.length === 0) return;
  const texts = findings.slice(0, 3).map(formatFinding).join('; ');
  throw new Failure('BACKUP_CORRUPT', `the backup does not load in a scratch server: ${texts}`, {
    remedy: 'Nothing was changed. Restore another backup.',
  });
}

/** What the server has in its memory alone is saved, so that undo brings back all but the last moments. */
async function savePresent({ server, plan, context }: RestoreRun): Promise<void> {
  if (!plan.decided.saveBeforeStop) return;
  const { connection } = server;
  context.progress({ phase: 'snapshot', doneBytes: 0, totalBytes: null });
  await using session = await RedisSession.open(connection, context.signal);
  await takeSnapshot(session, {
    clock: waitingClockOf(context),
    signal: context.signal,
    timeoutMs: connection.snapshotMs,
  });
}

async function newFilesOf({ plan, context }: RestoreRun): Promise<NewFiles> {
  const { decided, source } = plan;
  const { signal } = context;
  const writer =
    (object: ManifestObject): WriteFile =>
    async (sink) =>
      await pipeline(source.open(object, signal), sink, { signal });
  if (decided.way !== 'set') return { way: decided.way, rdb: writer(rdbObjectOf(source.manifest)) };
  const { manifest, members } = await readStoredSet(source, signal);
  return { way: 'set', manifest, members: members.map(({ name, object }) => ({ name, write: writer(object) })) };
}

/** The steps of a swap. When one fails, or the agent dies, they are taken back, and the server serves the old data. */
async function swapIn(run: RestoreRun): Promise<void> {
  const { server, request, context } = run;
  const { steps } = context;
  const back = takeBackBy('return-files', request);
  context.progress({ phase: 'restore', doneBytes: 0, totalBytes: run.plan.decided.needDiskBytes });
  const owner = await ownershipOf(request.files);
  const params = { restoreId: request.restoreId };
  await steps.run(
    { kind: 'stage-files', params, compensation: takeBackBy('discard-staged-files', request) },
    async () => await stageFiles(request, await newFilesOf(run), owner),
  );
  await savePresent(run);
  await steps.run(
    // A server that did not run is left stopped, with its old files, when the restore fails.
    { kind: 'stop-server', params, compensation: run.plan.isRunning ? takeBackBy('start-server', null) : null },
    async () => await stopServer(server, context),
  );
  await steps.run({ kind: 'set-files-aside', params, compensation: back }, async () => await setAside(request));
  await steps.run({ kind: 'place-files', params, compensation: back }, async () => await placeFiles(request));
  await steps.run(
    { kind: 'start-server', params, compensation: takeBackBy('stop-server', null) },
    async () => await startServer(server, context),
  );
}

/** The server reports how many keys it has loaded: its clients may have written since, which does not change that. */
async function checkLoaded({ server, plan, context }: RestoreRun): Promise<void> {
  context.progress({ phase: 'check', doneBytes: 0, totalBytes: null });
  await using session = await RedisSession.open(server.connection, context.signal);
  const info = await readInfo(session, 'persistence');
  const loaded = info.number('rdb_last_load_keys_loaded');
  const expected = keysOf(plan.facts);
  if (loaded === null || expected === null) return;
  const found = loaded + (info.number('rdb_last_load_keys_expired') ?? 0);
  if (found !== expected)
    throw new Failure('RESTORE_FAILED', `the server has loaded ${found} keys, the backup holds ${expected}`, {
      remedy: 'The old files are put back. Check which files the server loads: its configuration and its data folder.',
    });
}

const filesOf = ({ decided }: MadePlan): ServerFiles => {
  if (decided.files !== null) return decided.files;
  throw new Failure('DATABASE_REFUSED', 'the agent does not know where the files of the server are');
};

/** Carries out exactly the plan that was consented to: PLAN_CHANGED when the situation differs. */
export async function restore(
  server: ManagedServer,
  target: string,
  { request, jobId, planHash }: RestoreOrder,
  backups: RecoverySource,
  context: EngineContext,
): Promise<RestoreResult> {
  const started = context.clock.monotonic();
  const { connection, service } = server;
  const plan = await makePlan({ connection, target, hasService: service !== null }, request, backups, context);
  const { summary } = plan;
  assertConsented(summary, planHash);
  const files = filesOf(plan);
  const restoreId = restoreIdOf(jobId);
  const run: RestoreRun = { server, plan, request: { files, restoreId }, context };
  if (!plan.isRunning) await requireDown(server, context);
  await testBackup(run);
  context.signal.throwIfAborted();
  // The test takes its time: a server that was started meanwhile has data that nobody has saved.
  if (!plan.isRunning) await requireDown(server, context);
  await swapIn(run);
  await checkLoaded(run);
  const keys = keysOf(plan.facts);
  return {
    command: 'restore',
    backupId: summary.backupId,
    scope: request.scope,
    recoveryPoint: summary.recoveryPoint,
    into: target,
    setAsideAs: managedFolderName('aside', restoreId),
    warnings: [...summary.warnings],
    counts: keys === null ? [] : [{ label: 'keys', value: keys, unit: 'count' }],
    durationMs: Math.round(context.clock.monotonic() - started),
  };
}
