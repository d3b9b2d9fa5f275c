import { Failure, type ObjectStat, type ObjectStore } from '@lastgood/core';
import type { Finding, Manifest, ManifestObject } from '@lastgood/protocol';

/** Level 0 of one object: what is wrong with it without reading its bytes. Throws when the store does not answer. */
export async function checkPresence(
  store: ObjectStore,
  prefix: string,
  object: ManifestObject,
): Promise<Finding | undefined> {
  const finding = (message: string): Finding => ({ level: 0, object: object.name, message });
  let stat: ObjectStat | undefined;
  try {
    stat = await store.stat(`${prefix}${object.name}`);
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'REPOSITORY_UNSAFE') throw error;
    return finding(`the object cannot be read: ${error.message}`);
  }
  if (stat === undefined) return finding('the object is missing');
  if (stat.size === object.stored.size) return undefined;
  return finding(`the object has ${stat.size} bytes, its manifest says ${object.stored.size}`);
}

/**
 * Level 0 of a whole backup. A manifest alone is no backup: what it lists has to be there (B11, I3). `listed` are the sizes that
 * a listing reported; only what is missing or odd there is asked for again.
 */
export async function checkAllPresent(
  store: ObjectStore,
  prefix: string,
  manifest: Manifest,
  listed: ReadonlyMap<string, ObjectStat | null> = new Map(),
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const object of manifest.objects) {
    if (listed.get(object.name)?.size === object.stored.size) continue;
    const found = await checkPresence(store, prefix, object);
    if (found !== undefined) findings.push(found);
  }
  return findings;
}
