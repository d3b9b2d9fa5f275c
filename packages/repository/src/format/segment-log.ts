import { randomBytes } from 'node:crypto';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  type AppendedSegment,
  Failure,
  isFromTrustedHost,
  type ListedObject,
  type ObjectStore,
  type SegmentLog,
} from '@lastgood/core';
import type { TargetRef } from '@lastgood/protocol';
import { type Encoding, encodingWith, suffixOf } from '../pipeline/encoding.ts';
import { type Digest, HashingStream, isEqual } from '../pipeline/hashing.ts';
import type { RepositoryKeys } from '../pipeline/keys.ts';
import { digestInStore, openObject } from '../pipeline/read-object.ts';
import { type Run, storeObject } from '../pipeline/store-object.ts';
import { canonicalJson } from './canonical-json.ts';
import { forEachItem } from './for-each-item.ts';
import { isClaimIntent, putOnce } from './put-once.ts';
import {
  CLAIM_FORMAT,
  type Claim,
  type ClaimContent,
  claimedSegments,
  placedClaim,
  readClaim,
  type StreamAddress,
} from './segment-claim.ts';
import { checkSegment, claimName, segmentDataName, segmentObject, streamPrefix } from './segment-names.ts';
import { isTrusted, type Signer, signContent, type TrustedKeys } from './signature.ts';
import type { StoredBackups } from './stored-backups.ts';

const NO_RUN: Run = { signal: new AbortController().signal, progress: () => undefined };

export interface SegmentLogContext {
  readonly store: ObjectStore;
  readonly keys: RepositoryKeys;
  readonly backups: StoredBackups;
  readonly signer: Signer | undefined;
  readonly trusted: TrustedKeys;
  /** Throws when another installation writes to the target. */
  readonly checkWriter: () => Promise<void>;
}

/**
 * A log stream in a store. The data object of a segment has the hash of its bytes in its name, so that no other bytes ever replace
 * it; a create-once claim then makes it the segment. A second writer finds the claim of the first. The same bytes are never encrypted
 * to the same ciphertext: there, each append has a name of its own, and what it stores in vain is swept.
 */
export class StoreSegmentLog implements SegmentLog {
  readonly #context: SegmentLogContext;
  readonly #store: ObjectStore;
  readonly #ref: TargetRef;
  readonly #streamId: string;
  readonly #prefix: string;
  readonly #encoding: Encoding;

  constructor(context: SegmentLogContext, ref: TargetRef, streamId: string) {
    this.#context = context;
    this.#store = context.store;
    this.#ref = ref;
    this.#streamId = streamId;
    this.#prefix = streamPrefix(ref, streamId);
    this.#encoding = encodingWith(context.keys);
  }

  get #isEncrypted(): boolean {
    return this.#encoding.encryption !== null;
  }

  async append(segment: string, open: () => Readable, run: Run = NO_RUN): Promise<AppendedSegment> {
    checkSegment(segment);
    await this.#context.checkWriter();
    const produced = await digestOf(open(), run.signal);
    const known = await this.#knownClaim(segment);
    if (known !== undefined && known !== 'untrusted') return await this.#confirm(known, produced, open, run);
    const id = this.#isEncrypted ? randomBytes(32).toString('hex') : produced.sha256;
    const object = segmentDataName(segment, id, suffixOf(this.#encoding));
    const stored = (await this.#adopt(object, produced, run)) ?? (await this.#storeData(object, produced, open, run));
    const content: ClaimContent = { format: CLAIM_FORMAT, segment, object, ...this.#encoding, produced, stored };
    const name = `${this.#prefix}${claimName(segment)}`;
    // The server of this host delivers the segment: a claim that no trusted key has made must not keep it out of the log.
    if (known === 'untrusted') {
      await this.#store.put(name, Buffer.from(this.#claimText(content)));
      return { segment, produced, stored, isNew: true };
    }
    if (await putOnce(this.#store, name, this.#claimText(content))) return { segment, produced, stored, isNew: true };
    const first = await this.#readClaim(segment);
    if (first === undefined) throw new Failure('IO_ERROR', `the claim of segment ${segment} cannot be read`);
    if (this.#isEncrypted && first.object !== object) await this.#store.remove(`${this.#prefix}${object}`);
    return await this.#confirm(first, produced, open, run);
  }

  /** The segment was appended before: with the same bytes, or SEGMENT_CONFLICT. Bytes that were lost since are stored again. */
  async #confirm(claim: Claim, produced: Digest, open: () => Readable, run: Run): Promise<AppendedSegment> {
    const { segment, object, stored } = claim;
    if (!isEqual(claim.produced, produced))
      throw new Failure(
        'SEGMENT_CONFLICT',
        `segment ${segment} of stream ${this.#streamId} was appended with hash ${claim.produced.sha256}, now with ${produced.sha256}`,
      );
    if ((await this.#store.stat(`${this.#prefix}${object}`))?.size !== stored.size) {
      if (claim.encryption !== null) throw lostData(segment);
      await this.#store.remove(`${this.#prefix}${object}`);
      if (!isEqual(await this.#storeData(object, produced, open, run), stored)) throw lostData(segment);
    }
    return { segment, produced: claim.produced, stored, isNew: false };
  }

  #claimText(content: ClaimContent): string {
    const { signer } = this.#context;
    const named = { ...content, keyId: signer?.keyId ?? null };
    const signature = signer === undefined ? null : signContent(signer, 'segment', placedClaim(this.#address, named));
    return `${canonicalJson({ ...named, signature })}\n`;
  }

  #isTrusted({ keyId }: Claim): boolean {
    return isTrusted(this.#context.trusted, keyId);
  }

  /** The claim of a segment; `untrusted` for one that no trusted key has made, or that is damaged where signatures are judged. */
  async #knownClaim(segment: string): Promise<Claim | 'untrusted' | undefined> {
    try {
      const claim = await this.#readClaim(segment);
      return claim === undefined || this.#isTrusted(claim) ? claim : 'untrusted';
    } catch (error) {
      if (this.#context.trusted !== null && isCode(error, 'BACKUP_CORRUPT')) return 'untrusted';
      throw error;
    }
  }

  /** The digest of a data object that an interrupted append left; one whose bytes are damaged is removed. */
  async #adopt(object: string, produced: Digest, { signal }: Run): Promise<Digest | undefined> {
    const name = `${this.#prefix}${object}`;
    if (this.#isEncrypted || (await this.#store.stat(name)) === undefined) return undefined;
    const { digest: stored } = await digestInStore(this.#store, name, signal, () => undefined);
    try {
      const described = { name: object, ...this.#encoding, produced, stored };
      await digestOf(openObject({ ...this.#context, name }, described, signal), signal);
      return stored;
    } catch (error) {
      if (!isCode(error, 'BACKUP_CORRUPT')) throw error;
      await this.#store.remove(name);
      return undefined;
    }
  }

  async #storeData(object: string, produced: Digest, open: () => Readable, run: Run): Promise<Digest> {
    const write = (sink: NodeJS.WritableStream): Promise<void> => pipeline(open(), sink, { signal: run.signal });
    const options = { encoding: this.#encoding, ifAbsent: this.#store.capabilities.conditionalPut };
    const made = await storeObject(this.#store, `${this.#prefix}${object}`, write, run, options).catch(
      async (error: unknown) => {
        // Another process appends the same bytes at the same time.
        const stored = isCode(error, 'OBJECT_EXISTS') ? await this.#adopt(object, produced, run) : undefined;
        if (stored === undefined) throw error;
        return { produced, stored };
      },
    );
    if (isEqual(made.produced, produced)) return made.stored;
    await this.#store.remove(`${this.#prefix}${object}`);
    throw new Failure('SOURCE_CHANGED', `the bytes of ${object} changed while they were appended`);
  }

  async #readClaim(segment: string): Promise<Claim | undefined> {
    return (await readClaim(this.#store, this.#address, segment))?.claim;
  }

  get #address(): StreamAddress {
    return { ref: this.#ref, streamId: this.#streamId };
  }

  async read(segment: string, signal: AbortSignal): Promise<Readable> {
    checkSegment(segment);
    const claim = await this.#readClaim(segment);
    if (claim === undefined) throw new Failure('NOT_FOUND', `stream ${this.#streamId} has no segment ${segment}`);
    if (!this.#isTrusted(claim))
      throw new Failure(
        'BACKUP_UNTRUSTED',
        `segment ${segment} of stream ${this.#streamId} is ${claim.keyId === null ? 'not signed' : `signed by ${claim.keyId}, which this host does not trust`}`,
      );
    const described = { ...claim, name: claim.object };
    return openObject({ ...this.#context, name: `${this.#prefix}${claim.object}` }, described, signal);
  }

  async list({ from, to }: { readonly from?: string; readonly to?: string } = {}): Promise<readonly string[]> {
    return (await claimedSegments(this.#store, this.#prefix)).filter(
      (segment) => (from === undefined || segment >= from) && (to === undefined || segment <= to),
    );
  }

  async removeBefore(segment: string, keep: (segment: string) => boolean = () => false): Promise<number> {
    checkSegment(segment);
    await this.#context.checkWriter();
    const { backups } = await this.#context.backups.list(this.#ref);
    const needing = backups
      .filter(isFromTrustedHost)
      .filter(({ manifest: { logRange } }) => logRange?.stream === this.#streamId && logRange.from < segment);
    if (needing.length > 0) {
      const ids = needing.map(({ manifest }) => manifest.backupId).join(', ');
      throw new Failure('BACKUP_NEEDED', `segments before ${segment} are needed by backup ${ids}`);
    }
    const data = await this.#dataObjects();
    const old = (await this.list()).filter((each) => each < segment && !keep(each));
    await forEachItem(old, async (each) => {
      // The claim first: a crash in between leaves data without claim, which is swept, and no segment without data.
      await this.#store.remove(`${this.#prefix}${claimName(each)}`);
      for (const { name } of data.get(each) ?? []) await this.#store.remove(name);
    });
    return old.length;
  }

  /** The data objects of each segment, as a listing shows them; several when a conflict was refused. */
  async #dataObjects(): Promise<Map<string, ListedObject[]>> {
    const objects = new Map<string, ListedObject[]>();
    for await (const listed of this.#store.list(this.#prefix)) {
      const found = segmentObject(listed.name.slice(this.#prefix.length));
      if (found?.type === 'data') objects.set(found.segment, [...(objects.get(found.segment) ?? []), listed]);
    }
    return objects;
  }

  async sweep(graceMs: number): Promise<readonly string[]> {
    await this.#context.checkWriter();
    const swept = [...(await this.#store.removePartials(this.#prefix, () => false))];
    const before = (await this.#store.clock()) - graceMs;
    const removeOld = async (name: string): Promise<void> => {
      const stat = await this.#store.stat(name);
      if (stat === undefined || stat.modifiedAt >= before) return;
      await this.#store.remove(name);
      swept.push(name);
    };
    const claimed = new Set(await this.list());
    await forEachItem(await this.#dataObjects(), async ([segment, objects]) => {
      // One object and a claim belong together. Where there are several, the claim says which one is the segment.
      if (objects.length === 1 && claimed.has(segment)) return;
      const claim = await this.#readClaim(segment);
      for (const { name } of objects) if (name !== `${this.#prefix}${claim?.object}`) await removeOld(name);
    });
    for await (const { name } of this.#store.list(this.#prefix)) if (isClaimIntent(name)) await removeOld(name);
    return swept.sort();
  }
}

const lostData = (segment: string): Failure =>
  new Failure('BACKUP_CORRUPT', `the data of segment ${segment} was lost and cannot be stored as it was`);
const isCode = (error: unknown, code: Failure['code']): boolean => error instanceof Failure && error.code === code;

async function digestOf(source: Readable, signal: AbortSignal): Promise<Digest> {
  const hash = new HashingStream();
  try {
    await pipeline(source, hash.resume(), { signal });
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
  return hash.digest();
}
