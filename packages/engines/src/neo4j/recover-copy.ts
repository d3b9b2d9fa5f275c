import { Failure } from '@lastgood/core';
import { type AdminContext, readStoreInfo } from './admin-tool.ts';
import { scratchSettings, startServerProcess } from './server-process.ts';
import { makeToolHome } from './tool-home.ts';

/** What a copy must contain for each of its databases. */
export interface ExpectedDatabase {
  readonly name: string;
  /** The last transaction that was acknowledged before the copy began; null when it is not known. */
  readonly lastTransaction: number | null;
}
export interface RecoveredDatabase {
  readonly name: string;
  readonly storeFormat: string;
  readonly lastTransaction: number;
}

/**
 * Recovers a copy of a running server's files: replays the transaction logs into the store, by starting a server without any connector,
 * which ends by itself afterwards. `copy.store` is the copy, `copy.user` its owner. The exit status of that server means nothing, so that each database is then
 * checked with `readStoreInfo`. Throws TOOL_FAILED for a database that is not clean, or lacks acknowledged transactions.
 */
export async function recoverCopy(
  copy: AdminContext,
  databases: readonly ExpectedDatabase[],
): Promise<RecoveredDatabase[]> {
  const { runtime, store, user, scratchFolder, signal, timeoutMs } = copy;
  const home = databases.find(({ name }) => name !== 'system')?.name ?? 'neo4j';
  {
    await using tool = await makeToolHome(scratchFolder, user, {
      ...scratchSettings(runtime, store, home),
      'server.bolt.enabled': 'false',
    });
    await startServerProcess(runtime, tool, { store, user }, { signal, timeoutMs }).ended;
  }
  const recovered: RecoveredDatabase[] = [];
  for (const expected of databases) recovered.push(await checkRecovered(copy, expected));
  return recovered;
}

async function checkRecovered(
  copy: AdminContext,
  { name, lastTransaction }: ExpectedDatabase,
): Promise<RecoveredDatabase> {
  const info = await readStoreInfo(copy, name);
  if (info.state !== 'clean')
    throw new Failure('TOOL_FAILED', `the copy of database "${name}" could not be recovered (${info.state})`);
  if (lastTransaction !== null && info.lastTransaction < lastTransaction)
    throw new Failure(
      'TOOL_FAILED',
      `the copy of database "${name}" ends with transaction ${info.lastTransaction}; ${lastTransaction} was acknowledged before it began`,
    );
  return { name, storeFormat: info.storeFormat, lastTransaction: info.lastTransaction };
}
