import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type EngineContext, Failure, type UndoResult } from '@lastgood/core';
import type { Detail } from '@lastgood/protocol';
import { readInfo } from './info.ts';
import { type FoundServerState, findServer, waitingClockOf } from './open-server.ts';
import { listManagedFolders, managedFolderName, returnFiles } from './restore-files.ts';
import { restoreIdOf } from './restore-id.ts';
import { type ServerFiles, serverFilesOf } from './server-files.ts';
import { type ManagedServer, requireDown, startServer, stopServer, takeBackBy } from './server-steps.ts';
import { listSetAside } from './set-aside.ts';
import { takeSnapshot } from './snapshot.ts';
import type { StoppedServerHints } from './stopped-server.ts';

function explainNothingKept(restoreJobId: string, dir: string, isUndone: boolean): Failure {
  if (isUndone)
    return new Failure('UNDO_IMPOSSIBLE', `restore ${restoreJobId} was undone already`, {
      remedy: 'The files from before the restore are in place. There is nothing to do.',
    });
  return new Failure('UNDO_IMPOSSIBLE', `no files that restore ${restoreJobId} set aside are in ${dir}`, {
    remedy: 'They were removed. Restore a backup from before the restore instead.',
  });
}

const hintsOfUndo = async (): Promise<StoppedServerHints> => ({ configFiles: [], product: 'redis' });

/** The files of the server. Throws UNDO_IMPOSSIBLE when nothing that the restore has set aside is left. */
async function requireKept(
  { facts }: FoundServerState,
  { connection }: ManagedServer,
  restoreJobId: string,
): Promise<ServerFiles> {
  const files = serverFilesOf(facts.settings, connection.dataDir);
  if (files === null)
    throw new Failure('DATABASE_REFUSED', 'the agent may not ask the server where its files are', {
      remedy: 'Grant +config|get to the ACL user of the agent.',
    });
  const restoreId = restoreIdOf(restoreJobId);
  const folders = await listManagedFolders(files.dir);
  const kinds = folders.flatMap((each) => (each.restoreId === restoreId ? [each.kind] : []));
  if (!kinds.includes('aside')) throw explainNothingKept(restoreJobId, files.dir, kinds.includes('undone'));
  return files;
}

/**
 * Serves the files again that a restore set aside; the restored ones, with all that was written since, are kept. When it fails or the agent
 * dies, a server that was running is started again; an undo that had begun to move files is completed then, not taken back.
 */
export async function undo(
  server: ManagedServer,
  target: string,
  restoreJobId: string,
  context: EngineContext,
): Promise<UndoResult> {
  const started = context.clock.monotonic();
  const { connection } = server;
  const restoreId = restoreIdOf(restoreJobId);
  await using opened = await findServer(connection, hintsOfUndo, context.signal);
  const files = await requireKept(opened, server, restoreJobId);
  if (opened.session === null) await requireDown(server, context);
  else if (!opened.facts.isAofEnabled && opened.facts.changesSinceSave !== 0)
    await takeSnapshot(opened.session, {
      clock: waitingClockOf(context),
      signal: context.signal,
      timeoutMs: connection.snapshotMs,
    });
  const { steps } = context;
  const request = { files, restoreId };
  const params = { restoreId };
  const restart = opened.session === null ? null : takeBackBy('start-server', null);
  await steps.run({ kind: 'stop-server', params, compensation: restart }, async () => {
    await stopServer(server, context);
  });
  await steps.run({ kind: 'return-files', params, compensation: takeBackBy('return-files', request) }, async () => {
    await returnFiles(request);
  });
  await steps.run({ kind: 'start-server', params, compensation: null }, async () => {
    await startServer(server, context);
  });
  return {
    command: 'undo',
    into: target,
    setAsideAs: managedFolderName('undone', restoreId),
    durationMs: Math.round(context.clock.monotonic() - started),
  };
}

/** A server that a restore has started runs within this time after the old files were set aside. */
const START_WITHIN_MS = 60_000;

const CHANGES_LABELS = {
  least: 'changes since the restore, at least',
  // A later start replays the append-only files, and the server counts these commands too.
  replayed: 'changes since the restore, with the commands that the start has replayed',
} as const;

/**
 * What an undo takes away: the writes since the restore. The server counts them since its last start or snapshot, so the number is a lower
 * limit when there was one of them. Commands of append-only files that the start has replayed are counted too.
 */
export async function planUndo(server: ManagedServer, restoreJobId: string, context: EngineContext): Promise<Detail[]> {
  const { connection } = server;
  await using opened = await findServer(connection, hintsOfUndo, context.signal);
  const files = await requireKept(opened, server, restoreJobId);
  const aside = join(files.dir, managedFolderName('aside', restoreIdOf(restoreJobId)));
  const { mtimeMs } = await stat(aside);
  const kept = (await listSetAside(files)).find(({ name }) => aside.endsWith(`/${name}`));
  const details: Detail[] = [
    { label: 'files set aside', value: new Date(mtimeMs).toISOString(), unit: 'instant' },
    ...(kept?.sizeBytes == null
      ? []
      : [{ label: 'size of the old files', value: kept.sizeBytes, unit: 'bytes' } as const]),
  ];
  if (opened.session === null) return [...details, { label: 'the server', value: 'is not running', unit: 'text' }];
  const info = await readInfo(opened.session);
  const keys = Object.values(opened.facts.keyspace).reduce((sum, each) => sum + each.keys, 0);
  const startedAt = context.clock.now() - (info.number('uptime_in_seconds') ?? 0) * 1_000;
  const isFirstStart = Math.abs(startedAt - mtimeMs) < START_WITHIN_MS;
  const isExact = info.number('rdb_saves') === 0 && isFirstStart;
  const label = isExact
    ? 'changes since the restore'
    : CHANGES_LABELS[opened.facts.isAofEnabled ? 'replayed' : 'least'];
  const changes: Detail =
    opened.facts.changesSinceSave === null
      ? { label: 'changes since the restore', value: 'unknown', unit: 'text' }
      : { label, value: opened.facts.changesSinceSave, unit: 'count' };
  return [...details, { label: 'keys on the server now', value: keys, unit: 'count' }, changes];
}
