import type { ObjectStore } from '@lastgood/core';
import type { TargetRef } from '@lastgood/protocol';
import { forEachItem } from './for-each-item.ts';
import { backupPrefix, INCOMPLETE, isDataName, MANIFEST } from './layout.ts';
import { namesBelow } from './metadata.ts';

/** True when objects are there, but neither a manifest nor the mark of an incomplete backup: they may be all that is left of a good one (B12). */
export async function hasLostManifest(store: ObjectStore, ref: TargetRef, backupId: string): Promise<boolean> {
  const prefix = backupPrefix(ref, backupId);
  if (!(await hasData(store, ref, backupId))) return false;
  if ((await store.stat(`${prefix}${INCOMPLETE}`)) !== undefined) return false;
  // Asked last: publication stores the manifest before it takes the mark away.
  return (await store.stat(`${prefix}${MANIFEST}`)) === undefined;
}

/** True when an object of a backup is there; a listing may still show what is gone, so the store is asked for it. */
export async function hasData(store: ObjectStore, ref: TargetRef, backupId: string): Promise<boolean> {
  const prefix = backupPrefix(ref, backupId);
  for (const name of await namesBelow(store, prefix))
    if (isDataName(name.slice(prefix.length)) && (await store.stat(name)) !== undefined) return true;
  return false;
}

/**
 * Removes all of a backup that was never completed. The manifest goes first, when publication came that far, so that nothing is
 * listed whose data is going; the mark goes last, so that a crash in between leaves an incomplete backup, and not a lost manifest.
 * `written` names objects that a listing may not show yet.
 */
export async function removeIncomplete(
  store: ObjectStore,
  ref: TargetRef,
  backupId: string,
  written: Iterable<string> = [],
): Promise<void> {
  const prefix = backupPrefix(ref, backupId);
  const mark = `${prefix}${INCOMPLETE}`;
  await store.remove(`${prefix}${MANIFEST}`);
  const names = new Set([...[...written].map((name) => `${prefix}${name}`), ...(await namesBelow(store, prefix))]);
  names.delete(mark);
  await forEachItem(names, (name) => store.remove(name));
  await store.removePartials(prefix, () => false);
  await store.remove(mark);
}
