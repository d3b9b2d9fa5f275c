import { type EngineContext, Failure } from '@lastgood/core';
import { sweepSandboxes } from '@lastgood/host';
import type { RedisConnection } from './connection-schema.ts';
import { openServer } from './open-server.ts';
import { discardStaged, listManagedFolders } from './restore-files.ts';
import { restoreIdOf } from './restore-id.ts';
import { sweepScratchServers } from './scratch-server.ts';
import { serverFilesOf } from './server-files.ts';
import type { ManagedServer } from './server-steps.ts';

/** Folders of new files that no restore placed. What was set aside stays until somebody removes it. */
async function sweepStaged(
  connection: RedisConnection,
  context: EngineContext,
  runningJobs: () => ReadonlySet<string>,
): Promise<string[]> {
  await using server = await openServer(connection, context.signal);
  const files = serverFilesOf(server.facts.settings, connection.dataDir);
  if (files === null) return [];
  const folders = await listManagedFolders(files.dir);
  const swept: string[] = [];
  for (const { restoreId, kind } of folders) {
    // With files set aside beside it, an interrupted restore is still to be taken back.
    const isAlone = !folders.some((each) => each.restoreId === restoreId && each.kind !== 'new');
    const isRunning = [...runningJobs()].some((jobId) => restoreIdOf(jobId) === restoreId);
    if (kind !== 'new' || !isAlone || isRunning) continue;
    await discardStaged({ files, restoreId });
    swept.push(`staged files of restore ${restoreId}`);
  }
  return swept;
}

/** Removes scratch servers without an agent and files that no restore placed. */
export async function sweep(
  { connection, restoreTests }: Pick<ManagedServer, 'connection' | 'restoreTests'>,
  context: EngineContext,
  runningJobs: () => ReadonlySet<string>,
): Promise<string[]> {
  const swept = [...(await sweepSandboxes(restoreTests)), ...(await sweepScratchServers(connection))];
  if (!connection.fileAccess) return swept;
  try {
    return [...swept, ...(await sweepStaged(connection, context, runningJobs))];
  } catch (error) {
    if (!(error instanceof Failure) || context.signal.aborted) throw error;
    context.log(`staged files were not looked for: ${error.message}`);
    return swept;
  }
}
