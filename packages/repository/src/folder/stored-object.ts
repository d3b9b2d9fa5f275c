import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createZstdDecompress } from 'node:zlib';
import { Failure } from '@lastgood/core';
import { dropFromMemory, storeFailure } from '@lastgood/host';
import { type Finding, type ManifestObject, makeFinding } from '@lastgood/protocol';
import { type Digest, HashingStream } from '../hashing.ts';
import { openStored } from './safe-path.ts';

const CHUNK = 1024 * 1024;
export const equal = (a: Digest, b: Digest): boolean => a.size === b.size && a.sha256 === b.sha256;

/** The bytes of an object as its tool produced them. Errors with BACKUP_CORRUPT at the end when stored or produced bytes differ. */
export function openObject(path: string, object: ManifestObject, signal: AbortSignal): Readable {
  return Readable.from(decode(path, object, signal), { objectMode: false, highWaterMark: CHUNK });
}

async function* decode(path: string, object: ManifestObject, signal: AbortSignal): AsyncGenerator<Buffer> {
  if (object.encryption !== null)
    throw new Failure('COMMAND_UNSUPPORTED', `${object.name} is encrypted; this version cannot read it`);
  const file = await openStored(path);
  const input = file.createReadStream({ highWaterMark: CHUNK });
  const stored = new HashingStream();
  const produced = new HashingStream();
  const stages =
    object.compression === 'zstd' ? [stored, createZstdDecompress({ chunkSize: CHUNK }), produced] : [stored, produced];
  const running = pipeline([input, ...stages], { signal });
  running.catch(() => undefined);
  try {
    for await (const chunk of produced) yield chunk as Buffer;
    await running;
  } catch (error) {
    if (signal.aborted || error instanceof Failure) throw signal.aborted ? signal.reason : error;
    // A disk that does not answer says nothing about the bytes (E9).
    if (error instanceof Error && 'syscall' in error) throw storeFailure(error, path);
    throw corrupt(object, `decoding stopped near stored byte ${stored.size}`, error);
  } finally {
    input.destroy();
  }
  if (!equal(stored.digest(), object.stored)) throw corrupt(object, 'its stored bytes differ from its manifest');
  if (!equal(produced.digest(), object.produced)) throw corrupt(object, 'its decoded bytes differ from its manifest');
}

function corrupt(object: ManifestObject, what: string, cause?: unknown): Failure {
  return new Failure('BACKUP_CORRUPT', `${object.name}: ${what}`, { cause });
}

export interface Reading {
  readonly signal: AbortSignal;
  /** So many more bytes were read. */
  readonly progress: (bytes: number) => void;
  readonly remark: (text: string) => void;
}

/** Size and hash of the bytes as they lie on the disk, not as memory still has them; IO_ERROR when it does not give them. */
export async function digestOnDisk(
  path: string,
  signal: AbortSignal,
  progress: (bytes: number) => void,
): Promise<{ digest: Digest; fromMemory: string | null }> {
  const fromMemory = await dropFromMemory(path, signal);
  const file = await openStored(path);
  const hash = new HashingStream(progress);
  try {
    await pipeline(file.createReadStream({ highWaterMark: CHUNK }), hash.resume(), { signal });
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw storeFailure(error, `${path}, after ${hash.size} bytes`);
  }
  return { digest: hash.digest(), fromMemory };
}

/** Re-reads the stored bytes; IO_ERROR is no verdict. Says what is wrong, and near which 1 MiB block when the decoder can tell. */
export async function hashObject(
  path: string,
  object: ManifestObject,
  { signal, progress, remark }: Reading,
): Promise<Finding | undefined> {
  const { digest, fromMemory } = await digestOnDisk(path, signal, progress);
  if (fromMemory !== null)
    remark(`${object.name} may have been read from memory, and not from the disk: ${fromMemory}`);
  if (equal(digest, object.stored)) return undefined;
  const block = await damagedBlock(path, object, signal);
  return block === undefined
    ? makeFinding('OBJECT_BYTES_DIFFER', null)
    : makeFinding('OBJECT_DAMAGED_NEAR_BLOCK', null, { block });
}

async function damagedBlock(path: string, object: ManifestObject, signal: AbortSignal): Promise<number | undefined> {
  if (object.compression !== 'zstd') return undefined;
  const file = await openStored(path);
  const seen = new HashingStream();
  const sink = createZstdDecompress({ chunkSize: CHUNK });
  try {
    await pipeline(file.createReadStream({ highWaterMark: CHUNK }), seen, sink.resume(), { signal });
    return undefined;
  } catch {
    return Math.max(0, Math.ceil(seen.size / CHUNK) - 1);
  }
}
