import {
  type ArtifactSource,
  type BackupMethodSupport,
  type BackupWriter,
  checkDependencies,
  Failure,
  type NewBackup,
  type ObjectStat,
  type ObjectStore,
  type Repository,
  type StoredBackup,
} from '@lastgood/core';
import type { BackupSummary, Finding, TargetRef } from '@lastgood/protocol';
import { z } from 'zod';
import { findDamage, openObject } from '../pipeline/read-object.ts';
import type { Run } from '../pipeline/store-object.ts';
import { StoreBackupWriter } from './backup-writer.ts';
import { canonicalJson } from './canonical-json.ts';
import { forEachItem } from './for-each-item.ts';
import { hasData, hasLostManifest, removeIncomplete } from './incomplete-backup.ts';
import { backupOf, backupPrefix, backupsPrefix, INCOMPLETE, MANIFEST, targetPrefix, VERIFIED } from './layout.ts';
import { FORMAT, parseManifest, type ReadManifest, sequenceOf } from './manifest.ts';
import { ensureMarker, repositoryIdOf } from './marker.ts';
import { namesBelow, readJson, readText, sha256 } from './metadata.ts';
import { TargetOwnership } from './owner.ts';
import { checkAllPresent, checkPresence } from './presence-check.ts';
import { isClaimIntent, putOnce } from './put-once.ts';
import { purgeBackup, readTombstones, type Tombstone, writeTombstone } from './tombstones.ts';

export interface RepositoryOptions {
  /** The installation that writes here. Of a target that has one, no other changes anything (B14); without it none is claimed. */
  readonly writer?: string | undefined;
  /** The backup methods that this version can restore. Backups of any other are listed as not restorable. */
  readonly understood: readonly BackupMethodSupport[];
}

const verifiedSchema = z.object({ level: z.int(), at: z.string(), passed: z.boolean() });
const NO_RUN: Run = { signal: new AbortController().signal, progress: () => undefined };
const reasonOf = ({ code, message }: Failure): string => `${code}: ${message}`;

const newerFormat = (backupId: string, { part, name }: Readonly<Record<string, string>>): Failure =>
  new Failure('NEWER_FORMAT', `backup ${backupId} was made by a newer version: unknown ${part} "${name}"`);

interface Listed {
  readonly backups: StoredBackup[];
  readonly broken: { backupId: string; reason: string }[];
}
type Found = ReadManifest & { readonly manifestSha256: string };
/** What a listing shows of one backup: names below its prefix. */
type Listing = Map<string, ObjectStat | null>;

/** Opens a store that holds a repository. Throws REPOSITORY_NOT_MOUNTED when its marker is missing. */
export async function openRepository(store: ObjectStore, options: RepositoryOptions): Promise<Repository> {
  await store.check();
  return new StoreRepository(store, options, await repositoryIdOf(store));
}

/** Makes a repository of an empty store, and opens one that is there. */
export async function createRepository(store: ObjectStore, options: RepositoryOptions): Promise<Repository> {
  await store.check();
  await ensureMarker(store);
  return await openRepository(store, options);
}

/** The repository format over any object store. */
class StoreRepository implements Repository {
  readonly id: string;
  readonly #store: ObjectStore;
  readonly #owner: TargetOwnership;
  readonly #understood: readonly BackupMethodSupport[];

  constructor(store: ObjectStore, options: RepositoryOptions, id: string) {
    this.id = id;
    this.#store = store;
    this.#understood = options.understood;
    this.#owner = new TargetOwnership(store, options.writer);
  }

  async check(): Promise<void> {
    await this.#store.check();
    const repositoryId = await repositoryIdOf(this.#store);
    if (repositoryId !== this.id)
      throw new Failure(
        'REPOSITORY_NOT_MOUNTED',
        `${this.#store.locate('')} now holds another repository (${repositoryId})`,
      );
  }

  async freeBytes(): Promise<number | null> {
    return (await this.#store.freeBytes?.()) ?? null;
  }

  async storeNow(): Promise<number> {
    return await this.#store.clock();
  }

  async checkOwner(ref: TargetRef, systemId: string): Promise<void> {
    await this.#owner.check(ref, systemId);
  }

  async disown(ref: TargetRef): Promise<boolean> {
    await this.check();
    return await this.#owner.release(ref);
  }

  async removed(ref: TargetRef): Promise<string[]> {
    return [...(await readTombstones(this.#store, ref)).keys()];
  }

  async begin(backup: NewBackup, systemId: string, run: Run = NO_RUN): Promise<BackupWriter> {
    await this.check();
    const { ref, backupId } = backup;
    await this.#owner.claim(ref, systemId);
    const sequence = (await this.#lastSequence(ref)) + 1;
    const prefix = backupPrefix(ref, backupId);
    const taken = (await namesBelow(this.#store, prefix)).length > 0;
    if (taken || !(await putOnce(this.#store, `${prefix}${INCOMPLETE}`, `${canonicalJson({ jobId: backup.jobId })}\n`)))
      throw new Failure('REPOSITORY_UNSAFE', `backup ${backupId} already exists`);
    const checkWriter = async (): Promise<void> => void (await this.#owner.checkWriter(ref));
    return new StoreBackupWriter(this.#store, { ...backup, repositoryId: this.id, sequence }, checkWriter, run);
  }

  /** Every number that can still be read counts, also that of a backup which is broken or removed: no two share one. One that cannot be read hinders no new backup. */
  async #lastSequence(ref: TargetRef): Promise<number> {
    let last = 0;
    for (const backupId of (await this.#listings(ref)).keys()) {
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

  /** Every backup of a target, by its id, with the objects that a listing shows, whatever they are. */
  async #listings(ref: TargetRef): Promise<Map<string, Listing>> {
    const listings = new Map<string, Listing>();
    for await (const { name, stat } of this.#store.list(backupsPrefix(ref))) {
      const found = backupOf(ref, name);
      if (found === undefined) continue;
      const listing = listings.get(found.backupId) ?? new Map();
      listings.set(found.backupId, listing.set(found.below, stat));
    }
    return new Map([...listings].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  async list(ref: TargetRef): Promise<Listed> {
    const listed: Listed = { backups: [], broken: [] };
    const removed = await readTombstones(this.#store, ref);
    for (const [backupId, tombstone] of removed)
      if (tombstone instanceof Failure)
        listed.broken.push({ backupId, reason: `removed, and never purged: ${reasonOf(tombstone)}` });
    for (const [backupId, listing] of await this.#listings(ref)) {
      if (removed.has(backupId)) continue;
      try {
        const backup = await this.#listOne(ref, backupId, listing);
        if (backup !== undefined) listed.backups.push(backup);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        listed.broken.push({ backupId, reason: reasonOf(error) });
      }
    }
    listed.backups.sort((a, b) => a.manifest.sequence - b.manifest.sequence);
    return { backups: checkDependencies(listed.backups), broken: listed.broken };
  }

  /** A backup that others may rely on; undefined for one that was never completed. Throws what is wrong with any other. */
  async #listOne(ref: TargetRef, backupId: string, listing: Listing): Promise<StoredBackup | undefined> {
    const found = await this.#findManifest(ref, backupId);
    if (found === undefined) {
      if (!(await hasLostManifest(this.#store, ref, backupId))) return undefined;
      throw new Failure('MANIFEST_INVALID', 'its manifest is missing, its data is there');
    }
    const [first] = await checkAllPresent(this.#store, backupPrefix(ref, backupId), found.manifest, listing);
    if (first !== undefined) throw new Failure('BACKUP_CORRUPT', `${first.object}: ${first.message}`);
    return await this.#withVerdict(ref, found);
  }

  /** Undefined when there is no manifest. MANIFEST_INVALID when it is not what was written. */
  async #findManifest(ref: TargetRef, backupId: string): Promise<Found | undefined> {
    const text = await readText(this.#store, `${backupPrefix(ref, backupId)}${MANIFEST}`);
    if (text === undefined) return undefined;
    const read = parseManifest(text, { backupId, repositoryId: this.id, ...ref }, this.#understood);
    return { ...read, manifestSha256: sha256(text) };
  }

  async #manifest(ref: TargetRef, backupId: string): Promise<Found> {
    const found = await this.#findManifest(ref, backupId);
    if (found === undefined) throw new Failure('NOT_FOUND', `backup ${backupId} is not in the repository`);
    return found;
  }

  /** A verdict that cannot be read is unknown, and hides no backup: it is reported as a remark until the next verification replaces it. */
  async #withVerdict(ref: TargetRef, found: Found): Promise<StoredBackup> {
    const name = `${backupPrefix(ref, found.manifest.backupId)}${VERIFIED}`;
    try {
      return { ...found, verified: (await readJson(this.#store, name, verifiedSchema)) ?? null };
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const remark = `its last verdict cannot be read (${reasonOf(error)}); verify it again`;
      return { ...found, verified: null, remark };
    }
  }

  async read(ref: TargetRef, backupId: string): Promise<StoredBackup> {
    return await this.#withVerdict(ref, await this.#manifest(ref, backupId));
  }

  async open(ref: TargetRef, backupId: string): Promise<ArtifactSource> {
    const { manifest, restorable } = await this.#manifest(ref, backupId);
    if (!restorable.ok) throw newerFormat(backupId, restorable.reason.params);
    const prefix = backupPrefix(ref, backupId);
    return {
      manifest,
      open: (object, signal) => openObject(this.#store, `${prefix}${object.name}`, object, signal),
    };
  }

  async verify(
    ref: TargetRef,
    backupId: string,
    level: 0 | 1,
    signal: AbortSignal,
    progress: (doneBytes: number) => void,
    remark: (text: string) => void = () => undefined,
  ): Promise<readonly Finding[]> {
    const prefix = backupPrefix(ref, backupId);
    const found = await this.#manifestOrFinding(ref, backupId);
    if ('level' in found) return [found];
    const { manifest, restorable } = found;
    if (manifest.format > FORMAT && !restorable.ok) throw newerFormat(backupId, restorable.reason.params);
    const findings: Finding[] = [];
    let done = 0;
    for (const object of manifest.objects) {
      signal.throwIfAborted();
      const seen = await checkPresence(this.#store, prefix, object);
      if (seen !== undefined) findings.push(seen);
      else if (level === 1) {
        const counted = (bytes: number): void => {
          done += bytes;
          progress(done);
        };
        const reading = { signal, progress: counted, remark };
        const damage = await findDamage(this.#store, `${prefix}${object.name}`, object, reading);
        if (damage !== undefined) findings.push({ level: 1, object: object.name, message: damage });
      }
    }
    return findings;
  }

  async #manifestOrFinding(ref: TargetRef, backupId: string): Promise<Found | Finding> {
    try {
      return await this.#manifest(ref, backupId);
    } catch (error) {
      if (!(error instanceof Failure) || !['NOT_FOUND', 'MANIFEST_INVALID', 'REPOSITORY_UNSAFE'].includes(error.code))
        throw error;
      if (error.code === 'NOT_FOUND' && !(await hasData(this.#store, ref, backupId))) throw error;
      return { level: 0, object: MANIFEST, message: error.message };
    }
  }

  async recordVerified(
    ref: TargetRef,
    backupId: string,
    verdict: NonNullable<BackupSummary['verified']>,
  ): Promise<void> {
    const prefix = backupPrefix(ref, backupId);
    if ((await this.#store.stat(`${prefix}${MANIFEST}`)) === undefined)
      throw new Failure('NOT_FOUND', `backup ${backupId} is not in the repository`);
    await this.#owner.checkWriter(ref);
    const text = `${canonicalJson(verifiedSchema.parse(verdict))}\n`;
    await this.#store.put(`${prefix}${VERIFIED}`, Buffer.from(text));
  }

  async remove(ref: TargetRef, backupId: string, now: number): Promise<number> {
    const { manifest, restorable } = await this.#manifest(ref, backupId);
    await this.#owner.checkWriter(ref);
    // Whether others need it, and what belongs to it, is for the version that wrote it to say.
    if (!restorable.ok) throw newerFormat(backupId, restorable.reason.params);
    const storedBytes = manifest.objects.reduce((sum, object) => sum + object.stored.size, 0);
    const objects = manifest.objects.map((object) => object.name);
    const tombstone: Tombstone = { removedAt: now, sequence: manifest.sequence, storedBytes, objects };
    await writeTombstone(this.#store, ref, backupId, tombstone);
    return storedBytes;
  }

  async purge(ref: TargetRef, now: number, graceMs: number): Promise<number> {
    let freed = 0;
    await this.#owner.checkWriter(ref);
    await forEachItem(await readTombstones(this.#store, ref), async ([backupId, tombstone]) => {
      if (tombstone instanceof Failure || now - tombstone.removedAt < graceMs) return;
      freed += await purgeBackup(this.#store, ref, backupId, tombstone.objects);
    });
    return freed;
  }

  async sweep(ref: TargetRef, liveBackupIds: ReadonlySet<string>): Promise<readonly string[]> {
    await this.#owner.checkWriter(ref);
    const swept: string[] = [];
    const removed = await readTombstones(this.#store, ref);
    const isLive = (name: string): boolean => liveBackupIds.has(backupOf(ref, name)?.backupId ?? '');
    const candidates = new Set((await this.#listings(ref)).keys());
    for (const name of await this.#removePartialWrites(ref, isLive)) {
      const backupId = backupOf(ref, name)?.backupId;
      if (backupId !== undefined) candidates.add(backupId);
    }
    await forEachItem([...candidates].sort(), async (backupId) => {
      if (liveBackupIds.has(backupId) || removed.has(backupId)) return;
      await this.#sweepOne(ref, backupId);
      if ((await namesBelow(this.#store, backupPrefix(ref, backupId))).length === 0) swept.push(backupId);
    });
    return swept;
  }

  /** What puts that were killed left behind. Log streams sweep for themselves: they write while no job of the target runs. */
  async #removePartialWrites(ref: TargetRef, isLive: (name: string) => boolean): Promise<readonly string[]> {
    const prefix = targetPrefix(ref);
    const isInUse = (name: string): boolean => isLive(name) || name.startsWith(`${prefix}logs/`);
    if (!this.#store.capabilities.conditionalPut)
      for (const name of await namesBelow(this.#store, prefix))
        if (isClaimIntent(name) && !isInUse(name)) await this.#store.remove(name);
    return await this.#store.removePartials(prefix, isInUse);
  }

  /** Removes what a killed backup left. A manifest that may be good keeps everything. */
  async #sweepOne(ref: TargetRef, backupId: string): Promise<void> {
    const prefix = backupPrefix(ref, backupId);
    const marked = (await this.#store.stat(`${prefix}${INCOMPLETE}`)) !== undefined;
    if (!marked) return;
    if ((await this.#store.stat(`${prefix}${MANIFEST}`)) === undefined)
      await removeIncomplete(this.#store, ref, backupId);
    else await this.#settle(ref, backupId);
  }

  /**
   * Manifest and mark: published, and killed before its last step. Only with every object in place it is a backup; without any it is
   * the rest of one that was given up. What lies between keeps its mark and all it has: the list reports it, people decide.
   */
  async #settle(ref: TargetRef, backupId: string): Promise<void> {
    const prefix = backupPrefix(ref, backupId);
    const found = await this.#manifest(ref, backupId).catch((error: unknown) => {
      if (error instanceof Failure && error.code !== 'IO_ERROR') return undefined;
      throw error;
    });
    if (found === undefined) return;
    if ((await checkAllPresent(this.#store, prefix, found.manifest)).length === 0)
      await this.#store.remove(`${prefix}${INCOMPLETE}`);
    else if (!(await hasData(this.#store, ref, backupId))) await removeIncomplete(this.#store, ref, backupId);
  }
}
