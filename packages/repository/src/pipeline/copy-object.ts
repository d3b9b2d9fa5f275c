import { pipeline } from 'node:stream/promises';
import { Failure, type ObjectStore } from '@lastgood/core';
import { type Digest, HashingStream, isEqual } from './hashing.ts';
import { digestInStore } from './read-object.ts';
import type { Run } from './store-object.ts';

/** An object in a store, with the digest of its stored bytes. */
export interface ObjectToCopy {
  readonly store: ObjectStore;
  readonly name: string;
  readonly stored: Digest;
}

/** True when the object in the store has exactly these bytes; they are read for it. */
export async function hasStored(
  store: ObjectStore,
  name: string,
  stored: Digest,
  signal: AbortSignal,
): Promise<boolean> {
  if ((await store.stat(name))?.size !== stored.size) return false;
  return isEqual((await digestInStore(store, name, signal, () => undefined)).digest, stored);
}

/**
 * Copies stored bytes into another store, unless they are there, and reads them back. Returns the number of bytes that were sent. Throws
 * BACKUP_CORRUPT when the source does not have the bytes that it should; then nothing remains of the copy.
 */
export async function copyObject(
  { store: source, name, stored }: ObjectToCopy,
  destination: ObjectStore,
  { signal, progress }: Run,
): Promise<number> {
  if (await hasStored(destination, name, stored, signal)) return 0;
  const input = await source.get(name, { signal }).catch((error: unknown) => {
    if (!(error instanceof Failure) || error.code !== 'NOT_FOUND') throw error;
    throw new Failure('BACKUP_CORRUPT', `${source.locate(name)} is missing`, { cause: error });
  });
  let doneBytes = 0;
  const sent = new HashingStream((bytes) => {
    doneBytes += bytes;
    progress({ phase: 'copy', doneBytes, totalBytes: stored.size });
  });
  const reading = pipeline(input, sent, { signal });
  reading.catch(() => undefined);
  try {
    await destination.put(name, sent);
    await reading;
  } catch (error) {
    input.destroy();
    throw signal.aborted ? signal.reason : error;
  }
  if (!isEqual(sent.digest(), stored)) {
    await destination.remove(name);
    throw new Failure('BACKUP_CORRUPT', `${source.locate(name)} does not have the bytes that its manifest lists`);
  }
  const { digest } = await digestInStore(destination, name, signal, () => undefined);
  if (isEqual(digest, stored)) return stored.size;
  await destination.remove(name);
  throw new Failure('IO_ERROR', `${destination.locate(name)} was read back with other bytes than were written`);
}
