import { Failure, type RestoreTestLimits, type ServiceControl } from '@lastgood/core';
import type { Sandbox } from '@lastgood/host';
import type { AdminContext } from './admin-tool.ts';
import type { Neo4jConnection } from './connection-schema.ts';
import { findRuntime, type InstallPaths, installPathsOf } from './install-paths.ts';
import type { StoreContext } from './owner-commands.ts';
import type { ScratchOptions } from './scratch-server.ts';
import { ownerOf } from './store-folders.ts';

const TOOL_MS = 7 * 86_400_000;

/** One Neo4j server as the agent file describes it. */
export interface Neo4jTarget {
  readonly name: string;
  readonly connection: Neo4jConnection;
  readonly paths: InstallPaths;
  /** Null when the agent file names no service. */
  readonly service: ServiceControl | null;
  readonly restoreTests: RestoreTestLimits;
}

export const neo4jTargetOf = (
  name: string,
  connection: Neo4jConnection,
  service: ServiceControl | null,
  restoreTests: RestoreTestLimits,
): Neo4jTarget => ({
  name,
  connection,
  paths: installPathsOf(connection),
  service,
  restoreTests,
});

const isRoot = (): boolean => process.getuid?.() === 0;

/** The store and the user who changes its files. Throws CONFIG_INVALID when there is no store. */
export async function storeContextOf({ paths }: Neo4jTarget, signal: AbortSignal): Promise<StoreContext> {
  const owner = await ownerOf(paths.store).catch((error: unknown) => {
    throw new Failure('CONFIG_INVALID', `cannot read the folder "databases" in ${paths.store.data}`, {
      cause: error,
      remedy: 'Correct home or dataFolder of the target in the agent file, and let the agent read the data folder.',
    });
  });
  return { store: paths.store, user: isRoot() ? owner : undefined, signal };
}

/** What commands of neo4j-admin need to work on the store of the server. */
export async function adminContextOf(target: Neo4jTarget, signal: AbortSignal): Promise<AdminContext> {
  return {
    ...(await storeContextOf(target, signal)),
    runtime: await findRuntime(target.connection),
    scratchFolder: target.paths.scratchFolder,
    timeoutMs: TOOL_MS,
    stallMs: target.connection.stallMs,
  };
}

/** What scratch servers need beside their sandbox. */
export async function scratchOptionsOf(
  { connection, paths }: Neo4jTarget,
  sandbox: Sandbox,
  signal: AbortSignal,
): Promise<ScratchOptions> {
  return { runtime: await findRuntime(connection), scratchFolder: paths.scratchFolder, sandbox, signal };
}
