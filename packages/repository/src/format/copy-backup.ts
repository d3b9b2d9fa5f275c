import { type CopiedBackup, Failure, type ObjectStore } from '@lastgood/core';
import type { Manifest, TargetRef } from '@lastgood/protocol';
import { copyObject } from '../pipeline/copy-object.ts';
import { encodingWith } from '../pipeline/encoding.ts';
import type { RepositoryKeys } from '../pipeline/keys.ts';
import type { Run } from '../pipeline/store-object.ts';
import { canonicalJson } from './canonical-json.ts';
import { writeCopyMark } from './copy-mark.ts';
import { backupPrefix, INCOMPLETE, MANIFEST } from './layout.ts';
import { lockBackup } from './locks.ts';
import { notRestorable } from './manifest.ts';
import { readText, sha256 } from './metadata.ts';
import type { StoredBackups } from './stored-backups.ts';
import { readTombstones } from './tombstones.ts';

export interface CopySource {
  readonly store: ObjectStore;
  readonly backups: StoredBackups;
}
export interface CopyDestination extends CopySource {
  readonly keys: RepositoryKeys;
  /** For how long a copy is locked; 0 when it is not. */
  readonly lockMs: number;
  /** Throws when another installation has taken the target over since. */
  readonly checkWriter: () => Promise<void>;
}

/** An encrypted repository never holds the plain bytes of a backup, also not as a copy. */
function assertEncrypted(backupId: string, manifest: Manifest, destination: CopyDestination): void {
  const isEncrypting = encodingWith(destination.keys).encryption !== null;
  if (isEncrypting && manifest.objects.some(({ encryption }) => encryption === null))
    throw new Failure(
      'COMMAND_UNSUPPORTED',
      `backup ${backupId} is not encrypted, and ${destination.store.locate('')} is an encrypted repository`,
      { remedy: 'Backups are copied as they are. Backups that are taken with `encryption` can be copied there.' },
    );
}

/** See `Repository.copyTo`. */
export async function copyBackup(
  source: CopySource,
  destination: CopyDestination,
  ref: TargetRef,
  backupId: string,
  run: Run,
): Promise<CopiedBackup> {
  const { manifest, restorable } = await source.backups.manifest(ref, backupId);
  if (!restorable.ok) throw notRestorable(backupId, restorable.reason);
  assertEncrypted(backupId, manifest, destination);
  const { store } = destination;
  const prefix = backupPrefix(ref, backupId);
  const text = await readText(source.store, `${prefix}${MANIFEST}`);
  if (text === undefined) throw new Failure('NOT_FOUND', `backup ${backupId} is not in the repository`);
  if ((await readTombstones(store, ref)).has(backupId))
    throw new Failure('CONFLICT', `backup ${backupId} was removed from ${store.locate('')}`);
  const known = await readText(store, `${prefix}${MANIFEST}`);
  if (known !== undefined && known !== text)
    throw new Failure('CONFLICT', `${store.locate(prefix)} has another manifest than ${source.store.locate(prefix)}`);
  // The mark goes first: what a crash leaves is an incomplete backup, which the next copy continues.
  if (known === undefined)
    await store.put(`${prefix}${INCOMPLETE}`, Buffer.from(`${canonicalJson({ jobId: manifest.jobId })}\n`));
  let copiedBytes = 0;
  for (const { name, stored } of manifest.objects) {
    run.signal.throwIfAborted();
    copiedBytes += await copyObject({ store: source.store, name: `${prefix}${name}`, stored }, store, run);
  }
  await destination.checkWriter();
  if (known === undefined) await publishCopy(destination, ref, { text, manifest });
  await lockBackup(store, ref, manifest, destination.lockMs);
  // A mark that stays must not fail the copy; the sweep removes it.
  await store.remove(`${prefix}${INCOMPLETE}`).catch((error: unknown) => {
    if (!(error instanceof Failure)) throw error;
  });
  return { isNew: known === undefined, copiedBytes };
}

/** Stores the manifest as the last object, with the same bytes as in the source. */
async function publishCopy(
  { store, backups }: CopyDestination,
  ref: TargetRef,
  { text, manifest }: { readonly text: string; readonly manifest: Manifest },
): Promise<void> {
  const { backupId, repositoryId } = manifest;
  await writeCopyMark(store, ref, backupId, { manifestSha256: sha256(text), repositoryId });
  const name = `${backupPrefix(ref, backupId)}${MANIFEST}`;
  await store.put(name, Buffer.from(text));
  if ((await readText(store, name)) !== text)
    throw new Failure('IO_ERROR', `${store.locate(name)} was read back with other bytes than were written`);
  await backups.manifest(ref, backupId);
}
