import { Failure, type ObjectStore } from '@lastgood/core';
import { manifestObjectSchema, type TargetRef } from '@lastgood/protocol';
import { z } from 'zod';
import { parseJson, readText } from './metadata.ts';
import { claimName, segmentObject, streamPrefix } from './segment-names.ts';
import { isSignedBy } from './signature.ts';

export const CLAIM_FORMAT = 1;
/** No instant in it: appending the same bytes again makes the same claim. */
const claimSchema = z.object({
  format: z.int().min(1),
  segment: z.string(),
  /** The data object, below the prefix of the stream. */
  object: z.string().refine((name) => segmentObject(name)?.type === 'data'),
  compression: manifestObjectSchema.shape.compression,
  encryption: manifestObjectSchema.shape.encryption,
  produced: manifestObjectSchema.shape.produced,
  stored: manifestObjectSchema.shape.stored,
  keyId: z.string().nullable(),
  /** Of the other keys and of the stream they belong to. */
  signature: z.string().nullable(),
});
export type Claim = z.infer<typeof claimSchema>;
export type ClaimContent = Omit<Claim, 'keyId' | 'signature'>;

/** One log stream of one target. */
export interface StreamAddress {
  readonly ref: TargetRef;
  readonly streamId: string;
}

/** What a signature covers: a claim of another stream or target is not taken for one of this stream. */
export const placedClaim = (
  { ref, streamId }: StreamAddress,
  named: ClaimContent & { readonly keyId: string | null },
): object => ({ ...ref, stream: streamId, claim: named });

/** True also for a claim without a signature, which no trusted key has made. */
function isAsSigned(address: StreamAddress, { signature, ...named }: Claim): boolean {
  const { keyId } = named;
  if (keyId === null || signature === null) return keyId === signature;
  return isSignedBy(keyId, 'segment', placedClaim(address, named), signature);
}

/** The claim that makes a data object a segment, as it is stored and as it reads. Undefined when there is none. */
export async function readClaim(
  store: ObjectStore,
  address: StreamAddress,
  segment: string,
): Promise<{ readonly text: string; readonly claim: Claim } | undefined> {
  const name = `${streamPrefix(address.ref, address.streamId)}${claimName(segment)}`;
  const text = await readText(store, name);
  if (text === undefined) return undefined;
  try {
    const claim = claimSchema.parse(parseJson(text));
    if (claim.segment === segment && claim.format === CLAIM_FORMAT && isAsSigned(address, claim))
      return { text, claim };
    if (claim.format > CLAIM_FORMAT)
      throw new Failure('NEWER_FORMAT', `segment ${segment} was stored by a newer version`);
  } catch (error) {
    if (error instanceof Failure) throw error;
  }
  throw new Failure('BACKUP_CORRUPT', `${store.locate(name)} is not the claim of segment ${segment}`);
}

/** The names of the segments that have a claim, sorted. */
export async function claimedSegments(store: ObjectStore, prefix: string): Promise<string[]> {
  const segments: string[] = [];
  for await (const { name } of store.list(prefix)) {
    const found = segmentObject(name.slice(prefix.length));
    if (found?.type === 'claim') segments.push(found.segment);
  }
  return segments.sort();
}
