import { dirname, join } from 'node:path';
import {
  type ArtifactSource,
  type BackupWriter,
  type BrokenBackup,
  type EngineContext,
  Failure,
  type NewBackup,
  type Repository,
  type StoredBackup,
} from '@lastgood/core';
import { freeBytes, removeFile, syncFolder, touchFile, writeFileDurably } from '@lastgood/host';
import {
  type BackupSummary,
  formatFinding,
  type Manifest,
  makeFinding,
  type TargetRef,
  uuidSchema,
  type VerificationFinding,
} from '@lastgood/protocol';
import { z } from 'zod';
import { canonicalJson } from '../canonical-json.ts';
import { parseManifest, sequenceOf, sha256 } from '../manifest-file.ts';
import { FolderWriter } from './folder-writer.ts';
import {
  exists,
  hasLostManifest,
  hasObjects,
  MANIFEST,
  removeEmpty,
  removeUnfinished,
  sweepPartials,
  UNFINISHED,
} from './incomplete-backup.ts';
import { readJson, readSmall } from './metadata-file.ts';
import { checkOwner, checkWriter, claim, disown } from './owner.ts';
import { checkAllPresent, checkPresence } from './presence-check.ts';
import { checkMount, type FolderRepositoryOptions, makeRepository, repositoryIdOf } from './repository-marker.ts';
import { checkFolder, descend, namesIn } from './safe-path.ts';
import { hashObject, openObject } from './stored-object.ts';
import { purgeBackup, readTombstones, type Tombstone } from './tombstones.ts';

const VERIFIED = 'verified.json';

const verifiedSchema = z.object({ level: z.int(), at: z.string(), passed: z.boolean() });

/** Opens a folder that already is a repository. Throws REPOSITORY_NOT_MOUNTED when its marker is missing, REPOSITORY_UNSAFE when others can reach it. */
export async function openFolderRepository(options: FolderRepositoryOptions): Promise<Repository> {
  await checkMount(options);
  await checkFolder(options.path);
  return new FolderRepository(options, await repositoryIdOf(options.path));
}

/** Makes a repository of a missing or empty folder, and opens one that is there. Refuses a folder that holds anything else. */
export async function createFolderRepository(options: FolderRepositoryOptions): Promise<Repository> {
  await checkMount(options);
  await makeRepository(options.path);
  return await openFolderRepository(options);
}

/** Works on each, also when it fails on one, so that one bad folder stops no other; then throws the first failure. */
async function onEach<T>(items: Iterable<T>, work: (item: T) => Promise<void>): Promise<void> {
  let first: Failure | undefined;
  for (const item of items)
    try {
      await work(item);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      first ??= error;
    }
  if (first !== undefined) throw first;
}

interface Listed {
  readonly backups: StoredBackup[];
  readonly broken: BrokenBackup[];
}
interface Found {
  readonly folder: string;
  readonly manifest: Manifest;
  readonly manifestSha256: string;
}

/** A repository in a folder of this host (a disk, or a mounted network file system). */
class FolderRepository implements Repository {
  readonly id: string;
  readonly #options: FolderRepositoryOptions;

  constructor(options: FolderRepositoryOptions, id: string) {
    this.id = id;
    this.#options = options;
  }

  async check(): Promise<void> {
    await checkMount(this.#options);
    await checkFolder(this.#options.path);
    const repositoryId = await repositoryIdOf(this.#options.path);
    if (repositoryId !== this.id)
      throw new Failure(
        'REPOSITORY_NOT_MOUNTED',
        `${this.#options.path} now holds another repository (${repositoryId})`,
      );
  }

  async freeBytes(): Promise<number> {
    return await freeBytes(this.#options.path);
  }

  #path(ref: TargetRef, ...below: string[]): string {
    return join(this.#options.path, ref.environment, ref.host, ref.target, ...below);
  }

  async #target(ref: TargetRef, make: boolean, ...below: string[]): Promise<string> {
    return await descend(this.#options.path, [ref.environment, ref.host, ref.target, ...below], make);
  }

  async #backup(ref: TargetRef, backupId: string): Promise<string> {
    if (!uuidSchema.safeParse(backupId).success) throw new Failure('BAD_INPUT', 'a backup id is a UUID');
    if (!(await exists(this.#path(ref, 'backups', backupId))))
      throw new Failure('NOT_FOUND', `backup ${backupId} is not in the repository`);
    return await this.#target(ref, false, 'backups', backupId);
  }

  /** The folders of the target's backups, whatever is in them. */
  async #backupIds(ref: TargetRef): Promise<string[]> {
    if (!(await exists(this.#path(ref, 'backups')))) return [];
    return (await namesIn(await this.#target(ref, false, 'backups'))).filter((id) => uuidSchema.safeParse(id).success);
  }

  async #tombstones(ref: TargetRef): Promise<Map<string, Tombstone | Failure>> {
    if (!(await exists(this.#path(ref, 'tombstones')))) return new Map();
    return await readTombstones(await this.#target(ref, false, 'tombstones'));
  }

  /** Before anything of a target is changed. Reading is for everybody: a new host has to be able to restore. */
  async #mayWrite(ref: TargetRef): Promise<void> {
    await checkWriter(this.#path(ref), ref, this.#options.writer);
  }

  async begin(
    backup: NewBackup,
    systemId: string,
    run?: Pick<EngineContext, 'signal' | 'progress'>,
  ): Promise<BackupWriter> {
    await this.check();
    const { ref } = backup;
    const target = await this.#target(ref, true);
    await claim(target, ref, this.#options.writer, systemId);
    const sequence = (await this.#lastSequence(ref)) + 1;
    if (await exists(join(target, 'backups', backup.backupId)))
      throw new Failure('REPOSITORY_UNSAFE', `backup ${backup.backupId} already has a folder`);
    const folder = dirname(await this.#target(ref, true, 'backups', backup.backupId, 'data'));
    await writeFileDurably(join(folder, UNFINISHED), '');
    return new FolderWriter(folder, this.id, backup, sequence, () => this.#mayWrite(ref), run);
  }

  /** Every number that can still be read counts, also that of a backup which is broken or removed: no two share one. One that cannot be read hinders no new backup. */
  async #lastSequence(ref: TargetRef): Promise<number> {
    let last = 0;
    for (const backupId of await this.#backupIds(ref)) {
      const path = this.#path(ref, 'backups', backupId, MANIFEST);
      if (!(await exists(path))) continue;
      const text = await readSmall(path).catch((error: unknown) => {
        if (error instanceof Failure) return '';
        throw error;
      });
      last = Math.max(last, sequenceOf(text));
    }
    for (const tombstone of (await this.#tombstones(ref)).values())
      if (!(tombstone instanceof Failure)) last = Math.max(last, tombstone.sequence);
    return last;
  }

  async list(ref: TargetRef): Promise<Listed> {
    const listed: Listed = { backups: [], broken: [] };
    const removed = await this.#tombstones(ref);
    for (const [backupId, tombstone] of removed)
      if (tombstone instanceof Failure) listed.broken.push({ backupId, error: tombstone.wireError, removed: true });
    for (const backupId of await this.#backupIds(ref)) {
      if (removed.has(backupId)) continue;
      try {
        const backup = await this.#listOne(ref, backupId);
        if (backup !== undefined) listed.backups.push(backup);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        listed.broken.push({ backupId, error: error.wireError, removed: false });
      }
    }
    listed.backups.sort((a, b) => a.manifest.sequence - b.manifest.sequence);
    return listed;
  }

  /** A backup that others may rely on; undefined for one that was never finished. Throws what is wrong with any other. */
  async #listOne(ref: TargetRef, backupId: string): Promise<StoredBackup | undefined> {
    const folder = this.#path(ref, 'backups', backupId);
    if (!(await exists(join(folder, MANIFEST)))) {
      if (!(await hasLostManifest(folder))) return undefined;
      throw new Failure('MANIFEST_INVALID', 'its manifest is missing, its data is there');
    }
    const found = await this.#manifest(ref, backupId);
    const [first] = await checkAllPresent(found.folder, found.manifest);
    if (first !== undefined) throw new Failure('BACKUP_CORRUPT', `${first.object}: ${formatFinding(first)}`);
    return await this.#withVerdict(found);
  }

  async #manifest(ref: TargetRef, backupId: string): Promise<Found> {
    const folder = await this.#backup(ref, backupId);
    const path = join(folder, MANIFEST);
    if (!(await exists(path))) throw new Failure('NOT_FOUND', `backup ${backupId} has no manifest`);
    const text = await readSmall(path);
    const manifest = parseManifest(text, { backupId, repositoryId: this.id, ...ref });
    return { folder, manifest, manifestSha256: sha256(text) };
  }

  /** A verdict that cannot be read is unknown, and hides no backup: it is told as a remark until the next verification mends it. */
  async #withVerdict({ folder, manifest, manifestSha256 }: Found): Promise<StoredBackup> {
    try {
      const verified = (await readJson(join(folder, VERIFIED), verifiedSchema)) ?? null;
      return { manifest, manifestSha256, verified };
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const remark = makeFinding('VERDICT_UNREADABLE', null, { reason: error.message });
      return { manifest, manifestSha256, verified: null, remark };
    }
  }

  async read(ref: TargetRef, backupId: string): Promise<StoredBackup> {
    return await this.#withVerdict(await this.#manifest(ref, backupId));
  }

  async open(ref: TargetRef, backupId: string): Promise<ArtifactSource> {
    const { folder, manifest } = await this.#manifest(ref, backupId);
    await checkFolder(join(folder, 'data'));
    return { manifest, open: (object, signal) => openObject(join(folder, object.name), object, signal) };
  }

  async verify(
    ref: TargetRef,
    backupId: string,
    level: 0 | 1,
    signal: AbortSignal,
    progress: (doneBytes: number) => void,
    remark: (text: string) => void = () => undefined,
  ): Promise<readonly VerificationFinding[]> {
    const folder = await this.#backup(ref, backupId);
    let manifest: Manifest;
    try {
      ({ manifest } = await this.#manifest(ref, backupId));
    } catch (error) {
      if (!(error instanceof Failure) || error.code === 'IO_ERROR') throw error;
      return [{ level: 0, object: MANIFEST, ...makeFinding('MANIFEST_UNREADABLE', null, { reason: error.message }) }];
    }
    const findings: VerificationFinding[] = [];
    let done = 0;
    for (const object of manifest.objects) {
      signal.throwIfAborted();
      const seen = await checkPresence(folder, object);
      if (seen !== undefined) findings.push(seen);
      else if (level === 1) {
        const counted = (bytes: number): void => {
          done += bytes;
          progress(done);
        };
        const damage = await hashObject(join(folder, object.name), object, { signal, progress: counted, remark });
        if (damage !== undefined) findings.push({ level: 1, object: object.name, ...damage });
      }
    }
    return findings;
  }

  async recordVerified(
    ref: TargetRef,
    backupId: string,
    verdict: NonNullable<BackupSummary['verified']>,
  ): Promise<void> {
    const folder = await this.#backup(ref, backupId);
    await this.#mayWrite(ref);
    await writeFileDurably(join(folder, VERIFIED), `${canonicalJson(verifiedSchema.parse(verdict))}\n`);
  }

  async remove(ref: TargetRef, backupId: string, now: number): Promise<number> {
    const { manifest } = await this.#manifest(ref, backupId);
    await this.#mayWrite(ref);
    const folder = await this.#target(ref, true, 'tombstones');
    const storedBytes = manifest.objects.reduce((sum, object) => sum + object.stored.size, 0);
    const objects = manifest.objects.map((object) => object.name);
    const tombstone: Tombstone = { removedAt: now, sequence: manifest.sequence, storedBytes, objects };
    await writeFileDurably(join(folder, `${backupId}.json`), `${canonicalJson(tombstone)}\n`);
    return storedBytes;
  }

  async purge(ref: TargetRef, now: number, graceMs: number): Promise<number> {
    let freed = 0;
    await this.#mayWrite(ref);
    await onEach(await this.#tombstones(ref), async ([backupId, tombstone]) => {
      if (tombstone instanceof Failure || now - tombstone.removedAt < graceMs) return;
      await this.#target(ref, false, 'backups');
      freed += await purgeBackup(await this.#target(ref, false), backupId, tombstone.objects);
    });
    return freed;
  }

  async sweep(ref: TargetRef, liveBackupIds: ReadonlySet<string>): Promise<readonly string[]> {
    const swept: string[] = [];
    await this.#mayWrite(ref);
    await sweepPartials(this.#path(ref));
    await sweepPartials(this.#path(ref, 'tombstones'));
    const removed = await this.#tombstones(ref);
    await onEach(await this.#backupIds(ref), async (backupId) => {
      if (liveBackupIds.has(backupId) || removed.has(backupId)) return;
      if (!(await this.#sweepOne(ref, backupId))) return;
      await syncFolder(this.#path(ref, 'backups'));
      swept.push(backupId);
    });
    return swept;
  }

  /** Removes what a killed backup left, and tells whether it is gone. A manifest that may be good keeps everything. */
  async #sweepOne(ref: TargetRef, backupId: string): Promise<boolean> {
    const folder = this.#path(ref, 'backups', backupId);
    await checkFolder(folder);
    const marked = await exists(join(folder, UNFINISHED));
    if (!(await exists(join(folder, MANIFEST)))) await (marked ? removeUnfinished(folder) : removeEmpty(folder));
    else if (marked) await this.#settle(ref, backupId);
    else await sweepPartials(folder);
    return !(await exists(folder));
  }

  /**
   * Manifest and mark: published, and killed before its last step. Only with every object in place it is a backup; without any it is
   * the rest of one that was given up. What lies between keeps its mark and all it has: the list tells of it, people decide.
   */
  async #settle(ref: TargetRef, backupId: string): Promise<void> {
    const found = await this.#manifest(ref, backupId).catch((error: unknown) => {
      if (error instanceof Failure && error.code !== 'IO_ERROR') return undefined;
      throw error;
    });
    if (found === undefined) return;
    const { folder, manifest } = found;
    if ((await checkAllPresent(folder, manifest)).length === 0) await removeFile(join(folder, UNFINISHED));
    else if (!(await hasObjects(folder))) await removeUnfinished(folder);
  }

  /** One file per writer, which stays: a look that is killed leaves nothing else, and no two writers meet. */
  async storeNow(): Promise<number> {
    return await touchFile(join(this.#options.path, `.clock-${this.#options.writer ?? 'nobody'}`));
  }

  async checkOwner(ref: TargetRef, systemId: string): Promise<void> {
    await checkOwner(this.#path(ref), ref, this.#options.writer, systemId);
  }

  async disown(ref: TargetRef): Promise<boolean> {
    await this.check();
    return await disown(this.#path(ref));
  }

  async removed(ref: TargetRef): Promise<string[]> {
    return [...(await this.#tombstones(ref)).keys()];
  }
}
