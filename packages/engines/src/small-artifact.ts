import { type ArtifactSource, Failure } from '@lastgood/core';
import type { ManifestObject } from '@lastgood/protocol';

/** A fingerprint of 100,000 tables is smaller. */
const MAX_BYTES = 64 * 1024 * 1024;

/**
 * The text of an artifact that is read as a whole. Throws BACKUP_CORRUPT for one that is larger than any that a backup writes: its
 * manifest may come from somebody else.
 */
export async function readSmallArtifact(
  source: ArtifactSource,
  object: ManifestObject,
  signal: AbortSignal,
): Promise<string> {
  const tooLarge = (): Failure => new Failure('BACKUP_CORRUPT', `${object.name} has more than ${MAX_BYTES} bytes`);
  if (object.produced.size > MAX_BYTES) throw tooLarge();
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of source.open(object, signal) as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
