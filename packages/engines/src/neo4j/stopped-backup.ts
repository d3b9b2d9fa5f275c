import { Failure } from '@lastgood/core';
import { type AdminContext, readStoreInfo } from './admin-tool.ts';
import {
  addDump,
  type BackupRun,
  type DumpedDatabase,
  fingerprintsOf,
  type StoreState,
  type TakenBackup,
} from './backup-run.ts';
import type { DatabaseFacts } from './server-facts.ts';
import { waitUntilUsable, whileStopped } from './service-steps.ts';
import { logsOf } from './store-folders.ts';
import { readLogState } from './transaction-log.ts';

/**
 * Dumps the databases while the server is stopped. Nothing but the archives is written, so that it needs no space on the host; the pause
 * grows with the size of the stores.
 */
export async function backUpStopped(run: BackupRun): Promise<TakenBackup> {
  const { target, admin, databases, context } = run;
  const takenAt = context.clock.now();
  const begun = context.clock.monotonic();
  const dumped = await whileStopped(target, context, async () => {
    const all: DumpedDatabase[] = [];
    for (const database of databases) all.push(await addDump(run, admin, await readStoppedState(admin, database)));
    return all;
  });
  await waitUntilUsable(
    target,
    databases.map(({ name }) => name),
    context,
  );
  const pauseMs = context.clock.monotonic() - begun;
  return { dumped, pauseMs, takenAt, fingerprints: await fingerprintsOf(run, dumped, null) };
}

/**
 * The state of a database whose server was stopped. It is read from its transaction logs, without the seconds that Java takes to start;
 * from Java only for a layout that is not known. Throws TOOL_FAILED when the store was not shut down cleanly.
 */
async function readStoppedState(admin: AdminContext, { name, storeFormat }: DatabaseFacts): Promise<StoreState> {
  const logs = await readLogState(logsOf(admin.store, name));
  if (logs.state === 'read' && logs.isClean && storeFormat !== null)
    return { name, storeFormat, lastTransaction: logs.lastTransaction };
  return await readCleanState(admin, name);
}

/** The state of a database that no server has mounted. Throws TOOL_FAILED when it is not clean. */
export async function readCleanState(admin: AdminContext, name: string): Promise<StoreState> {
  const info = await readStoreInfo(admin, name);
  if (info.state === 'clean') return { name, storeFormat: info.storeFormat, lastTransaction: info.lastTransaction };
  throw new Failure('TOOL_FAILED', `database "${name}" was not shut down cleanly (${info.state})`, {
    remedy: 'Start and stop the server once, which recovers the database, then back it up again.',
  });
}
