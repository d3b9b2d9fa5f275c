import { Failure, type ObjectStore } from '@lastgood/core';
import { namesBelow, sha256 } from './metadata.ts';

const CLAIM = /\.claim-[0-9a-f]{16}$/;
export const isClaimIntent = (name: string): boolean => CLAIM.test(name);

/**
 * Stores a small object unless its name is taken; false when it is. Of several concurrent writers at most one succeeds, and an
 * object that was stored once is never replaced.
 *
 * Where the store cannot decide this (no `conditionalPut`), each writer announces its bytes under a name of their own,
 * `<name>.claim-<hash>`, and only the one that then sees no other announcement and no object goes on. If two writers see each
 * other, both withdraw (OBJECT_EXISTS). This is safe where a listing shows what was stored before it began. An announcement that a
 * crash left behind keeps out other bytes until the target is swept.
 */
export async function putOnce(store: ObjectStore, name: string, text: string): Promise<boolean> {
  const bytes = Buffer.from(text);
  if (store.capabilities.conditionalPut) {
    try {
      await store.put(name, bytes, { ifAbsent: true });
      return true;
    } catch (error) {
      if (error instanceof Failure && error.code === 'OBJECT_EXISTS') return false;
      throw error;
    }
  }
  if ((await store.stat(name)) !== undefined) return false;
  const intent = `${name}.claim-${sha256(bytes).slice(0, 16)}`;
  await store.put(intent, bytes);
  const others = (await namesBelow(store, name.slice(0, name.lastIndexOf('/') + 1))).filter(
    (other) => other.startsWith(`${name}.claim-`) && other !== intent,
  );
  // In this order: a writer removes its announcement after it has stored the object.
  const taken = (await store.stat(name)) !== undefined;
  if (!taken && others.length === 0) await store.put(name, bytes);
  await store.remove(intent);
  if (!taken && others.length > 0)
    throw new Failure('OBJECT_EXISTS', `${store.locate(name)} is being stored by another process`);
  return !taken;
}
