import { type EngineContext, Failure } from '@lastgood/core';
import { type Finding, makeFinding, type TargetInventory } from '@lastgood/protocol';
import { listManagedStores, removeStore } from './restore-files.ts';
import { parseManagedName } from './restore-names.ts';
import { measureStore } from './store-copy.ts';
import { type Neo4jTarget, storeContextOf } from './target.ts';

export type SetAside = NonNullable<TargetInventory['setAside']>[number];

/** The databases that restores and undos have set aside. Their names hold only a part of the id of the job. */
export async function listSetAside({ paths }: Neo4jTarget): Promise<SetAside[]> {
  const found: SetAside[] = [];
  for (const name of await listManagedStores(paths.store)) {
    const parsed = parseManagedName(name);
    if (parsed === null || parsed.kind === 'new') continue;
    const { bytes } = await measureStore(paths.store, name);
    found.push({ name, of: parsed.database, sizeBytes: bytes, restoreJobId: null });
  }
  return found;
}

/** Removes a database that was set aside. Throws NOT_FOUND for any other name. */
export async function dropSetAside(
  target: Neo4jTarget,
  name: string,
  { signal }: EngineContext,
): Promise<{ freedBytes: number | null }> {
  const found = (await listSetAside(target)).find((each) => each.name === name);
  if (found === undefined)
    throw new Failure('NOT_FOUND', `no database "${name}" is set aside on this server`, {
      remedy: 'List them with `lastgood set-aside list`.',
    });
  await removeStore(await storeContextOf(target, signal), name);
  return { freedBytes: found.sizeBytes };
}

export const setAsideFinding = ({ name, sizeBytes }: SetAside): Finding =>
  makeFinding(
    'SET_ASIDE_DATABASE',
    { kind: 'database', name },
    { size: `${Math.ceil((sizeBytes ?? 0) / 1_000_000)} MB` },
  );
