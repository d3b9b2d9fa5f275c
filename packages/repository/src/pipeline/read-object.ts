import { Readable, type Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Failure, type ObjectStore } from '@lastgood/core';
import { type Finding, type ManifestObject, makeFinding } from '@lastgood/protocol';
import { CHUNK_BYTES, decodingStages, type Encoding } from './encoding.ts';
import { type Digest, HashingStream, isEqual } from './hashing.ts';
import { NO_KEYS, type RepositoryKeys } from './keys.ts';

/** An object as a manifest or a claim describes it. `name` is for messages. */
export type DescribedObject = Encoding & Pick<ManifestObject, 'name' | 'produced' | 'stored'>;

/** What is read, with the keys that may be needed for it. */
export interface ObjectSource {
  readonly store: ObjectStore;
  readonly keys: RepositoryKeys;
  readonly name: string;
}

/**
 * The bytes of an object as its tool produced them. Fails with BACKUP_CORRUPT at the end when stored or produced bytes differ, and with
 * IDENTITY_NEEDED when it is encrypted and no key fits.
 */
export function openObject(source: ObjectSource, object: DescribedObject, signal: AbortSignal): Readable {
  return Readable.from(decode(source, object, signal), { objectMode: false, highWaterMark: CHUNK_BYTES });
}

async function* decode(
  { store, keys, name }: ObjectSource,
  object: DescribedObject,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const stored = new HashingStream();
  const produced = new HashingStream();
  const stages: Transform[] = [stored, ...(await decodingStages(object, keys)), produced];
  const input = await store.get(name, { signal }).catch((error: unknown) => {
    if (error instanceof Failure && error.code === 'NOT_FOUND') throw corrupt(object, 'the object is missing', error);
    throw error;
  });
  const running = pipeline([input, ...stages], { signal });
  running.catch(() => undefined);
  try {
    for await (const chunk of produced) {
      // Stored bytes of another origin may decode to any number of bytes.
      if (produced.size > object.produced.size)
        throw corrupt(object, 'it decodes to more bytes than its manifest declares');
      yield chunk as Buffer;
    }
    await running;
  } catch (error) {
    // A store that does not answer says nothing about the bytes (E9).
    if (signal.aborted || error instanceof Failure) throw signal.aborted ? signal.reason : error;
    throw corrupt(object, `decoding stopped near stored byte ${stored.size}`, error);
  } finally {
    input.destroy();
  }
  if (!isEqual(stored.digest(), object.stored)) throw corrupt(object, 'its stored bytes differ from its manifest');
  if (!isEqual(produced.digest(), object.produced)) throw corrupt(object, 'its decoded bytes differ from its manifest');
}

function corrupt({ name }: DescribedObject, what: string, cause?: unknown): Failure {
  return new Failure('BACKUP_CORRUPT', `${name}: ${what}`, { cause });
}

/** Size and hash of the bytes as they lie in the store; `cached` is the reason why they may come from a cache of this host. */
export async function digestInStore(
  store: ObjectStore,
  name: string,
  signal: AbortSignal,
  progress: (bytes: number) => void,
): Promise<{ digest: Digest; cached: string | null }> {
  let cached: string | null = null;
  const onCached = (reason: string): void => {
    cached = reason;
  };
  const hash = new HashingStream(progress);
  try {
    await pipeline(await store.get(name, { signal, fresh: { onCached } }), hash.resume(), { signal });
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
  return { digest: hash.digest(), cached };
}

export interface Reading {
  readonly signal: AbortSignal;
  /** So many more bytes were read. */
  readonly progress: (bytes: number) => void;
  readonly remark: (text: string) => void;
}

/** Re-reads the stored bytes. Returns what is wrong with them, and near which 1 MiB block when the decoder can tell. */
export async function findDamage(
  store: ObjectStore,
  name: string,
  object: DescribedObject,
  { signal, progress, remark }: Reading,
): Promise<Finding | undefined> {
  const { digest, cached } = await digestInStore(store, name, signal, progress);
  if (cached !== null) remark(`${object.name} may have been read from memory, and not from the disk: ${cached}`);
  if (isEqual(digest, object.stored)) return undefined;
  const block = await damagedBlock(store, name, object, signal);
  return block === undefined
    ? makeFinding('OBJECT_BYTES_DIFFER', null)
    : makeFinding('OBJECT_DAMAGED_NEAR_BLOCK', null, { block });
}

async function damagedBlock(
  store: ObjectStore,
  name: string,
  object: DescribedObject,
  signal: AbortSignal,
): Promise<number | undefined> {
  if (object.compression !== 'zstd' || object.encryption !== null) return undefined;
  const seen = new HashingStream();
  const sink = new HashingStream();
  try {
    const stages = await decodingStages(object, NO_KEYS);
    await pipeline([await store.get(name, { signal }), seen, ...stages, sink.resume()], { signal });
    return undefined;
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (error instanceof Failure) return undefined;
    return Math.max(0, Math.ceil(seen.size / CHUNK_BYTES) - 1);
  }
}
