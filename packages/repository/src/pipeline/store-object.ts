import { PassThrough, Transform, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type EngineContext, Failure, type ObjectStore } from '@lastgood/core';
import { CHUNK_BYTES, type Encoding, encodingStages } from './encoding.ts';
import { type Digest, HashingStream, isEqual } from './hashing.ts';
import { digestInStore } from './read-object.ts';

export type Run = Pick<EngineContext, 'signal' | 'progress'>;

export interface StoredDigests {
  readonly produced: Digest;
  readonly stored: Digest;
  /** Why the bytes may have been read back from a cache instead of the medium; null when they were not. */
  readonly cached: string | null;
}

/**
 * Streams what `write` produces into an object: hash, compress, encrypt, hash, store; then reads it back and compares (A9). When `write`
 * rejects, or the bytes that are read back differ (IO_ERROR), nothing of the object remains.
 */
export async function storeObject(
  store: ObjectStore,
  name: string,
  write: (sink: Writable) => Promise<void>,
  run: Run,
  { encoding, ifAbsent = false }: { readonly encoding: Encoding; readonly ifAbsent?: boolean },
): Promise<StoredDigests> {
  const stages = await encodingStages(encoding);
  const produced = new HashingStream();
  const stored = new HashingStream();
  const entry = new PassThrough({ highWaterMark: CHUNK_BYTES });
  const written = Promise.withResolvers<void>();
  written.promise.catch(() => undefined);
  // A tool may end its output and fail all the same: only its success ends the object.
  const gate = new Transform({
    highWaterMark: CHUNK_BYTES,
    transform: (chunk, _encoding, done) => done(null, chunk),
    flush: (done) => void written.promise.then(() => done(), done),
  });
  const encoded = pipeline([entry, gate, produced, ...stages, stored]);
  encoded.catch(() => undefined);
  const storing = store.put(name, stored, { ifAbsent });
  storing.catch(() => undefined);
  try {
    await write(entry);
    written.resolve();
    entry.end();
  } catch (error) {
    const cause = error instanceof Error ? error : new Error(String(error));
    written.reject(cause);
    if (!entry.destroyed) entry.destroy(cause);
    // The store's failure breaks the tool's pipe: throw the first cause, not the second.
    await storing.catch((failure: unknown) => {
      if (failure instanceof Failure) throw failure;
    });
    throw error;
  }
  await storing;
  await encoded;
  const digests = { produced: produced.digest(), stored: stored.digest() };
  return { ...digests, cached: await readBack(store, name, digests.stored, run) };
}

/** The bytes in the store, not those that were sent there or are still in memory, make an object good. Returns why they may be cached. */
async function readBack(store: ObjectStore, name: string, stored: Digest, { signal, progress }: Run) {
  let doneBytes = 0;
  const { digest, cached } = await digestInStore(store, name, signal, (bytes) => {
    doneBytes += bytes;
    progress({ phase: 'read-back', doneBytes, totalBytes: stored.size });
  });
  if (isEqual(digest, stored)) return cached;
  await store.remove(name);
  throw new Failure('IO_ERROR', `${store.locate(name)} was read back with other bytes than were written`);
}
