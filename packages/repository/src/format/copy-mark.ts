import type { ObjectStore } from '@lastgood/core';
import { sha256Schema, type TargetRef, uuidSchema } from '@lastgood/protocol';
import { z } from 'zod';
import { canonicalJson } from './canonical-json.ts';
import { backupPrefix, COPIED } from './layout.ts';
import { readJson } from './metadata.ts';

const copyMarkSchema = z.object({ manifestSha256: sha256Schema, repositoryId: uuidSchema });
export type CopyMark = z.infer<typeof copyMarkSchema>;

const nameOf = (ref: TargetRef, backupId: string): string => `${backupPrefix(ref, backupId)}${COPIED}`;

/** Which manifest was copied, and the repository that it names. Undefined for a backup that was taken into this repository. */
export async function readCopyMark(
  store: ObjectStore,
  ref: TargetRef,
  backupId: string,
): Promise<CopyMark | undefined> {
  return await readJson(store, nameOf(ref, backupId), copyMarkSchema);
}

/** Written before the manifest: without it, a copied manifest does not belong to the repository. */
export async function writeCopyMark(
  store: ObjectStore,
  ref: TargetRef,
  backupId: string,
  mark: CopyMark,
): Promise<void> {
  await store.put(nameOf(ref, backupId), Buffer.from(`${canonicalJson(mark)}\n`));
}
