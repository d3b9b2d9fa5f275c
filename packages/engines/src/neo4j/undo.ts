import { type EngineContext, Failure, type UndoResult } from '@lastgood/core';
import { listStores } from './installed-server.ts';
import { hasAside, listManagedStores, swapBack } from './restore-files.ts';
import { parseManagedName, type RestoreNames, restoreNamesOf } from './restore-names.ts';
import { waitUntilUsable, whileStopped } from './service-steps.ts';
import { SYSTEM_DATABASE } from './store-folders.ts';
import { type Neo4jTarget, storeContextOf } from './target.ts';

/** Takes back an undo. */
export const SWAP_FORWARD = 'swap-forward';

/** The databases that a restore has set aside, in both roots of the store. */
async function findAsides({ paths }: Neo4jTarget, restoreJobId: string): Promise<RestoreNames[]> {
  const managed = await listManagedStores(paths.store);
  // A long name is cut: only a store that exists tells the whole name then.
  const derived = managed.flatMap((name) => parseManagedName(name)?.database ?? []);
  const candidates = new Set([...(await listStores(paths)), ...derived]);
  const found: RestoreNames[] = [];
  for (const database of candidates) {
    const names = restoreNamesOf(database, restoreJobId);
    const isKnown = found.some(({ aside }) => aside === names.aside);
    if (!isKnown && (await hasAside(paths.store, names))) found.push(names);
  }
  return found;
}

/** Brings back the databases that a restore has set aside, in a short stop. What the restore had brought is kept. Throws UNDO_IMPOSSIBLE. */
export async function undo(target: Neo4jTarget, restoreJobId: string, context: EngineContext): Promise<UndoResult> {
  const started = context.clock.monotonic();
  const asides = await findAsides(target, restoreJobId);
  if (asides.length === 0)
    throw new Failure('UNDO_IMPOSSIBLE', `nothing that restore ${restoreJobId} has set aside is left`);
  const store = await storeContextOf(target, context.signal);
  const databases = asides.map(({ database }) => database);
  const params = { jobId: restoreJobId, databases };
  await whileStopped(target, context, () =>
    context.steps.run({ kind: 'undo-swap', params, compensation: { kind: SWAP_FORWARD, params } }, async () => {
      for (const names of asides) await swapBack(store, names, true);
    }),
  );
  await waitUntilUsable(target, [SYSTEM_DATABASE, ...databases.filter((name) => name !== SYSTEM_DATABASE)], context);
  return {
    command: 'undo',
    into: databases.join('+'),
    setAsideAs: asides.map(({ undone }) => undone).join(', '),
    durationMs: Math.round(context.clock.monotonic() - started),
  };
}
