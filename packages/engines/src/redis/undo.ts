import { type EngineContext, Failure, type UndoResult } from '@lastgood/core';
import { findServer, waitingClockOf } from './open-server.ts';
import { listManagedFolders, managedFolderName, returnFiles } from './restore-files.ts';
import { restoreIdOf } from './restore-id.ts';
import { serverFilesOf } from './server-files.ts';
import { type ManagedServer, startServer, stopServer, takeBackBy } from './server-steps.ts';
import { takeSnapshot } from './snapshot.ts';

function explainNothingKept(restoreJobId: string, dir: string, isUndone: boolean): Failure {
  if (isUndone)
    return new Failure('UNDO_IMPOSSIBLE', `restore ${restoreJobId} was undone already`, {
      remedy: 'The files from before the restore are in place. There is nothing to do.',
    });
  return new Failure('UNDO_IMPOSSIBLE', `no files that restore ${restoreJobId} set aside are in ${dir}`, {
    remedy: 'They were removed. Restore a backup from before the restore instead.',
  });
}

/**
 * Serves the files again that a restore set aside; the restored ones, with all that was written since, are kept. When it fails or the agent
 * dies, the server is started again; an undo that had begun to move files is completed then, not taken back.
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
  const hints = { configFiles: [], product: 'redis' as const };
  await using opened = await findServer(connection, async () => hints, context.signal);
  const files = serverFilesOf(opened.facts.settings, connection.dataDir);
  if (files === null)
    throw new Failure('DATABASE_REFUSED', 'the agent may not ask the server where its files are', {
      remedy: 'Grant +config|get to the ACL user of the agent.',
    });
  const kinds = (await listManagedFolders(files.dir)).flatMap((each) =>
    each.restoreId === restoreId ? [each.kind] : [],
  );
  if (!kinds.includes('aside')) throw explainNothingKept(restoreJobId, files.dir, kinds.includes('undone'));
  if (opened.session !== null && !opened.facts.isAofEnabled && opened.facts.changesSinceSave !== 0)
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
