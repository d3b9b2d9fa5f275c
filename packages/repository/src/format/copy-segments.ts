import { Failure, type LogRangeToCopy, type ObjectStore } from '@lastgood/core';
import type { TargetRef } from '@lastgood/protocol';
import { copyObject } from '../pipeline/copy-object.ts';
import { encodingWith } from '../pipeline/encoding.ts';
import { isEqual } from '../pipeline/hashing.ts';
import type { Run } from '../pipeline/store-object.ts';
import type { CopyDestination } from './copy-backup.ts';
import { putOnce } from './put-once.ts';
import { claimedSegments, readClaim, type StreamAddress } from './segment-claim.ts';
import { claimName, streamPrefix } from './segment-names.ts';
import { isTrusted, type TrustedKeys } from './signature.ts';

export interface SegmentSource {
  readonly store: ObjectStore;
  readonly trusted: TrustedKeys;
}

/** See `Repository.copyLog`. Segments that no trusted key has claimed are left out. */
export async function copySegments(
  source: SegmentSource,
  destination: CopyDestination,
  ref: TargetRef,
  { streamId, from, isKept = () => false }: LogRangeToCopy,
  run: Run,
): Promise<number> {
  const prefix = streamPrefix(ref, streamId);
  const present = new Set(await claimedSegments(destination.store, prefix));
  let count = 0;
  for (const segment of await claimedSegments(source.store, prefix)) {
    if (present.has(segment) || (segment < from && !isKept(segment))) continue;
    run.signal.throwIfAborted();
    if (await copySegment(source, destination, { ref, streamId }, segment, run)) count++;
  }
  return count;
}

/** False when the segment was removed from the source meanwhile, or its claim is not that of a trusted key. */
async function copySegment(
  source: SegmentSource,
  { store, keys }: CopyDestination,
  address: StreamAddress,
  segment: string,
  run: Run,
): Promise<boolean> {
  const prefix = streamPrefix(address.ref, address.streamId);
  const found = await readTrusted(source, address, segment);
  if (found === undefined) return false;
  const { claim, text } = found;
  if (encodingWith(keys).encryption !== null && claim.encryption === null)
    throw new Failure(
      'COMMAND_UNSUPPORTED',
      `segment ${segment} is not encrypted, and ${store.locate('')} is an encrypted repository`,
    );
  await copyObject({ store: source.store, name: `${prefix}${claim.object}`, stored: claim.stored }, store, run);
  if (await putOnce(store, `${prefix}${claimName(segment)}`, text)) return true;
  const first = await readClaim(store, address, segment);
  if (first === undefined || !isEqual(first.claim.produced, claim.produced))
    throw new Failure('SEGMENT_CONFLICT', `segment ${segment} has other bytes in ${store.locate(prefix)}`);
  return true;
}

/** What somebody has planted must not keep the other segments from being copied. */
async function readTrusted(
  { store, trusted }: SegmentSource,
  address: StreamAddress,
  segment: string,
): ReturnType<typeof readClaim> {
  try {
    const found = await readClaim(store, address, segment);
    return found !== undefined && isTrusted(trusted, found.claim.keyId) ? found : undefined;
  } catch (error) {
    if (trusted !== null && error instanceof Failure && error.code === 'BACKUP_CORRUPT') return undefined;
    throw error;
  }
}
