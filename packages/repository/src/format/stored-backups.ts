import {
  type BackupMethodSupport,
  type BrokenBackup,
  checkDependencies,
  Failure,
  type ObjectStat,
  type ObjectStore,
  type StoredBackup,
} from '@lastgood/core';
import { formatFinding, makeFinding, type TargetRef } from '@lastgood/protocol';
import { z } from 'zod';
import { readCopyMark } from './copy-mark.ts';
import { readHold, readHolds } from './holds.ts';
import { hasLostManifest } from './incomplete-backup.ts';
import { backupOf, backupPrefix, backupsPrefix, MANIFEST, VERIFIED } from './layout.ts';
import { parseManifest, type ReadManifest, repositoryIdIn, sequenceOf } from './manifest.ts';
import { readJson, readText, sha256 } from './metadata.ts';
import { checkAllPresent } from './presence-check.ts';
import type { TrustedKeys } from './signature.ts';
import { readTombstones } from './tombstones.ts';

export const verifiedSchema = z.object({ level: z.int(), at: z.string(), passed: z.boolean() });
/** What a listing shows of one backup: names below its prefix. */
type Listing = ReadonlyMap<string, ObjectStat | null>;
export type FoundManifest = ReadManifest & { readonly manifestSha256: string };
export interface ListedBackups {
  readonly backups: StoredBackup[];
  readonly broken: BrokenBackup[];
}

/** The backups of the targets of one repository, as they lie in its store. Changes nothing. */
export class StoredBackups {
  readonly #store: ObjectStore;
  readonly #repositoryId: string;
  readonly #understood: readonly BackupMethodSupport[];

  readonly #trusted: TrustedKeys;

  constructor(
    store: ObjectStore,
    repositoryId: string,
    understood: readonly BackupMethodSupport[],
    trusted: TrustedKeys,
  ) {
    this.#store = store;
    this.#repositoryId = repositoryId;
    this.#understood = understood;
    this.#trusted = trusted;
  }

  /** Every backup of a target, by its id, with the objects that a listing shows, whatever they are. */
  async listings(ref: TargetRef): Promise<Map<string, Listing>> {
    const listings = new Map<string, Map<string, ObjectStat | null>>();
    for await (const { name, stat } of this.#store.list(backupsPrefix(ref))) {
      const found = backupOf(ref, name);
      if (found === undefined) continue;
      const listing = listings.get(found.backupId) ?? new Map();
      listings.set(found.backupId, listing.set(found.below, stat));
    }
    return new Map([...listings].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** See `Repository.list`. */
  async list(ref: TargetRef): Promise<ListedBackups> {
    const backups: StoredBackup[] = [];
    const broken: ListedBackups['broken'] = [];
    const holds = await readHolds(this.#store, ref);
    const removed = await readTombstones(this.#store, ref);
    for (const [backupId, tombstone] of removed)
      if (tombstone instanceof Failure) broken.push({ backupId, error: tombstone.wireError, removed: true });
    for (const [backupId, listing] of await this.listings(ref)) {
      if (removed.has(backupId)) continue;
      try {
        const found = await this.#findWhole(ref, backupId, listing);
        if (found !== undefined) backups.push(await this.#withVerdict(ref, found, holds.get(backupId) ?? null));
      } catch (error) {
        // What one backup breaks is that backup's: the others are listed, and rotated, all the same.
        const failure =
          error instanceof Failure
            ? error
            : new Failure('MANIFEST_INVALID', `backup ${backupId} cannot be read`, { cause: error });
        broken.push({ backupId, error: failure.wireError, removed: false });
      }
    }
    backups.sort((a, b) => a.manifest.sequence - b.manifest.sequence);
    return { backups: checkDependencies(backups), broken };
  }

  /** A backup that others may rely on; undefined for one that was never completed. Throws what is wrong with any other. */
  async #findWhole(ref: TargetRef, backupId: string, listing: Listing): Promise<FoundManifest | undefined> {
    const found = await this.findManifest(ref, backupId);
    if (found === undefined) {
      if (!(await hasLostManifest(this.#store, ref, backupId))) return undefined;
      throw new Failure('MANIFEST_INVALID', 'its manifest is missing, its data is there');
    }
    const [first] = await checkAllPresent(this.#store, backupPrefix(ref, backupId), found.manifest, listing);
    if (first !== undefined) throw new Failure('BACKUP_CORRUPT', `${first.object}: ${formatFinding(first)}`);
    return found;
  }

  /** Undefined when there is no manifest. MANIFEST_INVALID when it is not what was written. */
  async findManifest(ref: TargetRef, backupId: string): Promise<FoundManifest | undefined> {
    const text = await readText(this.#store, `${backupPrefix(ref, backupId)}${MANIFEST}`);
    if (text === undefined) return undefined;
    const manifestSha256 = sha256(text);
    // A copy keeps the manifest of its original, which names another repository.
    const mark =
      repositoryIdIn(text) === this.#repositoryId ? undefined : await readCopyMark(this.#store, ref, backupId);
    const repositoryId = mark?.manifestSha256 === manifestSha256 ? mark.repositoryId : this.#repositoryId;
    const belonging = { backupId, repositoryId, ...ref };
    return { ...parseManifest(text, belonging, this.#understood, this.#trusted), manifestSha256 };
  }

  /** Throws NOT_FOUND when there is no manifest. */
  async manifest(ref: TargetRef, backupId: string): Promise<FoundManifest> {
    const found = await this.findManifest(ref, backupId);
    if (found === undefined) throw new Failure('NOT_FOUND', `backup ${backupId} is not in the repository`);
    return found;
  }

  async read(ref: TargetRef, backupId: string): Promise<StoredBackup> {
    const found = await this.manifest(ref, backupId);
    return await this.#withVerdict(ref, found, (await readHold(this.#store, ref, backupId)) ?? null);
  }

  /** A verdict that cannot be read is unknown, and hides no backup: it is reported as a remark until the next verification replaces it. */
  async #withVerdict(ref: TargetRef, found: FoundManifest, held: StoredBackup['held']): Promise<StoredBackup> {
    const name = `${backupPrefix(ref, found.manifest.backupId)}${VERIFIED}`;
    try {
      return { ...found, held, verified: (await readJson(this.#store, name, verifiedSchema)) ?? null };
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const remark = makeFinding('VERDICT_UNREADABLE', null, { reason: error.message });
      return { ...found, held, verified: null, remark };
    }
  }

  /** Every number that can still be read counts, also that of a backup which is broken or removed: no two share one. One that cannot be read hinders no new backup. */
  async lastSequence(ref: TargetRef): Promise<number> {
    let last = 0;
    for (const backupId of (await this.listings(ref)).keys()) {
      const text = await readText(this.#store, `${backupPrefix(ref, backupId)}${MANIFEST}`).catch((error: unknown) => {
        if (error instanceof Failure) return undefined;
        throw error;
      });
      last = Math.max(last, sequenceOf(text ?? ''));
    }
    for (const tombstone of (await readTombstones(this.#store, ref)).values())
      if (!(tombstone instanceof Failure)) last = Math.max(last, tombstone.sequence);
    return last;
  }
}
