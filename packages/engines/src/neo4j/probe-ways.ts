import { readdir } from 'node:fs/promises';
import { freeBytes } from '@lastgood/host';
import type { WayFacts } from './backup-ways.ts';
import type { InstallPaths } from './install-paths.ts';
import { makeOwnedFolders, type OwnerContext } from './owner-commands.ts';
import type { ProcessIdentity } from './process-identity.ts';
import type { ServerFacts } from './server-facts.ts';
import { canReflink, measureStore } from './store-copy.ts';
import { findServerProcess } from './store-lock.ts';

const ONLINE_BACKUP_JAR = /^neo4j-backup-.*\.jar$/;

/** What is known beforehand: the rest is looked up on the host. */
export interface WayInputs {
  readonly server: Pick<ServerFacts, 'edition' | 'databases'>;
  readonly canControlService: boolean;
  readonly maxPauseSeconds: number;
}

/** Finds out which ways of a backup are possible on this host. Makes the copy folder, and leaves nothing in it. */
export async function probeWays(paths: InstallPaths, inputs: WayInputs, owner: OwnerContext): Promise<WayFacts> {
  const { store, copyFolder, libFolder } = paths;
  await makeOwnedFolders(owner, copyFolder);
  const server = await findServerProcess(store);
  const jars = await readdir(libFolder).catch(() => []);
  const sizes = await Promise.all(inputs.server.databases.map(({ name }) => measureStore(store, name)));
  return {
    edition: inputs.server.edition,
    hasOnlineBackup: jars.some((name) => ONLINE_BACKUP_JAR.test(name)),
    serverProcess: server === null ? 'not-found' : 'found',
    maySignal: server !== null && (await maySignal(server)),
    canReflink: await canReflink({ store, ...owner }, copyFolder),
    isLinux: process.platform === 'linux',
    canControlService: inputs.canControlService,
    files: sizes.reduce((sum, { files }) => sum + files, 0),
    storeBytes: sizes.reduce((sum, { bytes }) => sum + bytes, 0),
    freeBytes: await freeBytes(copyFolder),
    maxPauseSeconds: inputs.maxPauseSeconds,
  };
}

async function maySignal({ pid }: ProcessIdentity): Promise<boolean> {
  try {
    // Signal 0 only asks for permission.
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
