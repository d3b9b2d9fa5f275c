import { Failure, type ObjectStat, type ObjectStore } from '@lastgood/core';
import {
  type Finding,
  type Manifest,
  type ManifestObject,
  makeFinding,
  type VerificationFinding,
} from '@lastgood/protocol';

/** Level 0 of one object: what is wrong with it without reading its bytes. Throws when the store does not answer. */
export async function checkPresence(
  store: ObjectStore,
  prefix: string,
  object: ManifestObject,
): Promise<VerificationFinding | undefined> {
  const at = (finding: Finding): VerificationFinding => ({ level: 0, object: object.name, ...finding });
  let stat: ObjectStat | undefined;
  try {
    stat = await store.stat(`${prefix}${object.name}`);
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'REPOSITORY_UNSAFE') throw error;
    return at(makeFinding('OBJECT_UNREADABLE', null, { reason: error.message }));
  }
  if (stat === undefined) return at(makeFinding('OBJECT_MISSING', null));
  if (stat.size === object.stored.size) return undefined;
  return at(makeFinding('OBJECT_SIZE_DIFFERS', null, { found: stat.size, expected: object.stored.size }));
}

/**
 * Level 0 of a whole backup. A manifest alone is not a backup: every object that it lists must exist (B11, I3). `listed` are the sizes that
 * a listing reported; only what is missing or odd there is asked for again.
 */
export async function checkAllPresent(
  store: ObjectStore,
  prefix: string,
  manifest: Manifest,
  listed: ReadonlyMap<string, ObjectStat | null> = new Map(),
): Promise<VerificationFinding[]> {
  const findings: VerificationFinding[] = [];
  for (const object of manifest.objects) {
    if (listed.get(object.name)?.size === object.stored.size) continue;
    const found = await checkPresence(store, prefix, object);
    if (found !== undefined) findings.push(found);
  }
  return findings;
}
