import {
  type ArtifactSource,
  type BackupMethodSupport,
  type BackupWriter,
  Bug,
  type CopiedBackup,
  Failure,
  type LockedBackup,
  type LogRangeToCopy,
  type NewBackup,
  type ObjectStore,
  type Repository,
  type SegmentLog,
  type StoredBackup,
} from '@lastgood/core';
import type { BackupSummary, TargetRef, VerificationFinding } from '@lastgood/protocol';
import { identitiesFor } from '../pipeline/encoding.ts';
import { NO_KEYS, type RepositoryKeys } from '../pipeline/keys.ts';
import { openObject } from '../pipeline/read-object.ts';
import type { Run } from '../pipeline/store-object.ts';
import { StoreBackupWriter } from './backup-writer.ts';
import { canonicalJson } from './canonical-json.ts';
import { type CopyDestination, copyBackup } from './copy-backup.ts';
import { copySegments } from './copy-segments.ts';
import { writeHold } from './holds.ts';
import { backupPrefix, holdName, INCOMPLETE, MANIFEST, tombstoneName, VERIFIED } from './layout.ts';
import { setStoreHold } from './locks.ts';
import { notRestorable } from './manifest.ts';
import { ensureMarker, repositoryIdOf } from './marker.ts';
import { namesBelow } from './metadata.ts';
import { TargetOwnership } from './owner.ts';
import { putOnce } from './put-once.ts';
import { lockedBackups, purgeRemoved, removeBackup } from './removal.ts';
import { StoreSegmentLog } from './segment-log.ts';
import type { Signer, TrustedKeys } from './signature.ts';
import { type ListedBackups, StoredBackups, verifiedSchema } from './stored-backups.ts';
import { sweepTarget } from './sweep.ts';
import { readTombstones } from './tombstones.ts';
import { verifyObjects } from './verification.ts';

export interface RepositoryOptions {
  /** The installation that writes here. Of a target that has one, no other changes anything (B14); without it none is claimed. */
  readonly writer?: string | undefined;
  /** The backup methods that this version can restore. Backups of any other are listed as not restorable. */
  readonly understood: readonly BackupMethodSupport[];
  /** Signs what is written. Nothing is signed without it. */
  readonly signer?: Signer | undefined;
  /** The keys whose backups are trusted, the signer's own included. Every backup is, without it. */
  readonly trusted?: TrustedKeys | undefined;
  /** Objects are encrypted to its recipients. Nothing is encrypted, and nothing encrypted can be read, without it. */
  readonly keys?: RepositoryKeys | undefined;
  /** For how long the store locks a published backup, if it can. */
  readonly lockMs?: number | undefined;
}

const NO_RUN: Run = { signal: new AbortController().signal, progress: () => undefined };

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
  readonly #backups: StoredBackups;
  readonly #keys: RepositoryKeys;
  readonly #lockMs: number;
  readonly #signer: Signer | undefined;
  readonly #trusted: TrustedKeys;

  constructor(store: ObjectStore, options: RepositoryOptions, id: string) {
    this.id = id;
    this.#store = store;
    this.#keys = options.keys ?? NO_KEYS;
    this.#lockMs = options.lockMs ?? 0;
    this.#signer = options.signer;
    this.#trusted = options.trusted ?? null;
    this.#owner = new TargetOwnership(store, options.writer, options.signer?.keyId);
    this.#backups = new StoredBackups(store, id, options.understood, this.#trusted);
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

  async begin(backup: NewBackup, systemId: string, run: Run = NO_RUN): Promise<BackupWriter> {
    await this.check();
    const { ref, backupId } = backup;
    await this.#owner.claim(ref, systemId);
    const sequence = (await this.#backups.lastSequence(ref)) + 1;
    const prefix = backupPrefix(ref, backupId);
    const taken = (await namesBelow(this.#store, prefix)).length > 0;
    if (taken || !(await putOnce(this.#store, `${prefix}${INCOMPLETE}`, `${canonicalJson({ jobId: backup.jobId })}\n`)))
      throw new Failure('REPOSITORY_UNSAFE', `backup ${backupId} already exists`);
    return new StoreBackupWriter(
      this.#store,
      { ...backup, repositoryId: this.id, sequence },
      {
        checkWriter: async () => void (await this.#owner.checkWriter(ref)),
        log: (streamId) => this.log(ref, streamId),
        keys: this.#keys,
        signer: this.#signer,
        lockMs: this.#lockMs,
        run,
      },
    );
  }

  async list(ref: TargetRef): Promise<ListedBackups> {
    return await this.#backups.list(ref);
  }

  async removed(ref: TargetRef): Promise<string[]> {
    return [...(await readTombstones(this.#store, ref)).keys()];
  }

  async read(ref: TargetRef, backupId: string): Promise<StoredBackup> {
    return await this.#backups.read(ref, backupId);
  }

  async open(ref: TargetRef, backupId: string): Promise<ArtifactSource> {
    const { manifest, restorable } = await this.#backups.manifest(ref, backupId);
    if (!restorable.ok) throw notRestorable(backupId, restorable.reason);
    for (const { encryption } of manifest.objects)
      if (encryption !== null) await identitiesFor(encryption.recipients, this.#keys);
    const prefix = backupPrefix(ref, backupId);
    const source = { store: this.#store, keys: this.#keys };
    return {
      manifest,
      open: (object, signal) => openObject({ ...source, name: `${prefix}${object.name}` }, object, signal),
      log: (streamId) => this.log(ref, streamId),
    };
  }

  async verify(
    ref: TargetRef,
    backupId: string,
    level: 0 | 1,
    signal: AbortSignal,
    progress: (doneBytes: number) => void,
    remark: (text: string) => void = () => undefined,
  ): Promise<readonly VerificationFinding[]> {
    return await verifyObjects(this.#store, this.#backups, ref, backupId, level, { signal, progress, remark });
  }

  async recordVerified(
    ref: TargetRef,
    backupId: string,
    verdict: NonNullable<BackupSummary['verified']>,
  ): Promise<void> {
    await this.#checkExists(ref, backupId);
    await this.#owner.checkWriter(ref);
    const text = `${canonicalJson(verifiedSchema.parse(verdict))}\n`;
    await this.#store.put(`${backupPrefix(ref, backupId)}${VERIFIED}`, Buffer.from(text));
  }

  async #checkExists(ref: TargetRef, backupId: string): Promise<void> {
    if ((await this.#store.stat(`${backupPrefix(ref, backupId)}${MANIFEST}`)) === undefined)
      throw new Failure('NOT_FOUND', `backup ${backupId} is not in the repository`);
  }

  async hold(ref: TargetRef, backupId: string, hold: { reason: string; by: string; at: string }): Promise<boolean> {
    await this.#checkExists(ref, backupId);
    await this.#owner.checkWriter(ref);
    const isNew = await writeHold(this.#store, ref, backupId, hold);
    // Repeated for an old hold: the first attempt may have failed in between.
    await this.#setStoreHold(ref, backupId, true);
    // Asked after the hold is there: a removal at the same time checks for holds after writing its tombstone.
    if ((await this.#store.stat(tombstoneName(ref, backupId))) === undefined) return isNew;
    if (isNew) {
      await this.#setStoreHold(ref, backupId, false);
      await this.#store.remove(holdName(ref, backupId));
    }
    throw new Failure('NOT_FOUND', `backup ${backupId} was removed`);
  }

  async release(ref: TargetRef, backupId: string): Promise<boolean> {
    await this.#owner.checkWriter(ref);
    if ((await this.#store.stat(holdName(ref, backupId))) === undefined) return false;
    await this.#setStoreHold(ref, backupId, false);
    await this.#store.remove(holdName(ref, backupId));
    return true;
  }

  /** A backup whose manifest is missing or damaged has no list of objects: its hold is the file alone. */
  async #setStoreHold(ref: TargetRef, backupId: string, held: boolean): Promise<void> {
    if (this.#store.locks === undefined) return;
    const found = await this.#backups.manifest(ref, backupId).catch((error: unknown) => {
      if (error instanceof Failure && ['NOT_FOUND', 'MANIFEST_INVALID'].includes(error.code)) return undefined;
      throw error;
    });
    if (found !== undefined) await setStoreHold(this.#store, ref, found.manifest, held);
  }

  async remove(ref: TargetRef, backupId: string, now: number): Promise<number> {
    await this.#owner.checkWriter(ref);
    return await removeBackup(this.#store, this.#backups, ref, backupId, now);
  }

  async purge(ref: TargetRef, now: number, graceMs: number): Promise<number> {
    await this.#owner.checkWriter(ref);
    return await purgeRemoved(this.#store, ref, now, graceMs);
  }

  async locked(ref: TargetRef, now: number, graceMs: number): Promise<readonly LockedBackup[]> {
    return await lockedBackups(this.#store, ref, now, graceMs);
  }

  log(ref: TargetRef, streamId: string): SegmentLog {
    const checkWriter = async (): Promise<void> => void (await this.#owner.checkWriter(ref));
    const signatures = { signer: this.#signer, trusted: this.#trusted };
    const context = { store: this.#store, keys: this.#keys, backups: this.#backups, checkWriter, ...signatures };
    return new StoreSegmentLog(context, ref, streamId);
  }

  async copyTo(destination: Repository, ref: TargetRef, backupId: string, run: Run): Promise<CopiedBackup> {
    const to = await this.#destinationOf(destination, ref, (await this.read(ref, backupId)).manifest.server.systemId);
    return await copyBackup({ store: this.#store, backups: this.#backups }, to, ref, backupId, run);
  }

  async copyLog(destination: Repository, ref: TargetRef, range: LogRangeToCopy, run: Run): Promise<number> {
    const to = await this.#destinationOf(destination, ref);
    return await copySegments({ store: this.#store, trusted: this.#trusted }, to, ref, range, run);
  }

  /** Where copies go. A target without an owner becomes that of the writer, if a system is given. */
  async #destinationOf(destination: Repository, ref: TargetRef, systemId?: string): Promise<CopyDestination> {
    if (!(destination instanceof StoreRepository)) throw new Bug('copies go to a repository over a store');
    await destination.check();
    const owner = destination.#owner;
    if (systemId === undefined) await owner.checkWriter(ref);
    else await owner.claimForCopies(ref, systemId);
    return {
      store: destination.#store,
      backups: destination.#backups,
      keys: destination.#keys,
      lockMs: destination.#lockMs,
      checkWriter: async () => void (await owner.checkWriter(ref)),
    };
  }

  async sweep(
    ref: TargetRef,
    liveBackupIds: ReadonlySet<string>,
    resumable: ReadonlySet<string> = new Set(),
  ): Promise<readonly string[]> {
    await this.#owner.checkWriter(ref);
    const context = { store: this.#store, backups: this.#backups, lockMs: this.#lockMs };
    return await sweepTarget(context, ref, liveBackupIds, resumable);
  }
}
