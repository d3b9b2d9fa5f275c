import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { EngineContext } from '@lastgood/core';
import { sweepSandboxes } from '@lastgood/host';
import { COPY_NAME } from './copy-backup.ts';
import { removeTree } from './owner-commands.ts';
import { listManagedStores, removeStore } from './restore-files.ts';
import { parseManagedName, restoreNamesOf } from './restore-names.ts';
import { type Neo4jTarget, storeContextOf } from './target.ts';
import { sweepToolHomes } from './tool-home.ts';

/** Removes scratch servers, loaded stores and copies that no running job works with. */
export async function sweep(
  target: Neo4jTarget,
  { signal }: EngineContext,
  runningJobs: () => ReadonlySet<string>,
): Promise<string[]> {
  const swept = [...(await sweepSandboxes(target.restoreTests)), ...(await sweepToolHomes(target.paths.scratchFolder))];
  const store = await storeContextOf(target, signal);
  for (const name of await listManagedStores(store.store)) {
    const parsed = parseManagedName(name);
    if (parsed?.kind !== 'new') continue;
    const isRunning = [...runningJobs()].some((jobId) => restoreNamesOf(parsed.database, jobId).staging === name);
    if (isRunning) continue;
    await removeStore(store, name);
    swept.push(`partly restored database ${name}`);
  }
  const copies = await readdir(target.paths.copyFolder).catch(() => []);
  for (const name of copies.filter((each) => COPY_NAME.test(each))) {
    if (runningJobs().size > 0) break;
    await removeTree(store, join(target.paths.copyFolder, name));
    swept.push(`copy ${name}`);
  }
  return swept;
}
