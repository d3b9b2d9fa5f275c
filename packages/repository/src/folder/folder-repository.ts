import { randomUUID } from 'node:crypto';
import { lstat, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  type ArtefactSource,
  type BackupWriter,
  Failure,
  type NewBackup,
  type Repository,
  type StoredBackup,
} from '@lastgood/core';
import { freeBytes, makePrivateFolder, storeFailure, syncFolder, writeFileDurably } from '@lastgood/host';
import { type BackupSummary, type Finding, type Manifest, type TargetRef, uuidSchema } from '@lastgood/protocol';
import { z } from 'zod';
import { canonicalJson } from '../canonical-json.ts';
import { parseManifest, sha256 } from '../manifest-file.ts';
import { FolderWriter, removeUnfinished, UNFINISHED } from './folder-writer.ts';
import { checkFolder, descend, openStored } from './safe-path.ts';
import { hashObject, openObject } from './stored-object.ts';

const MARKER = 'lastgood.json';
const MANIFEST = 'manifest.json';
const VERIFIED = 'verified.json';
const OWNER = 'owner.json';
const MAX_SMALL_FILE = 64 * 1024 * 1024;

const markerSchema = z.object({ format: z.literal(1), repositoryId: uuidSchema });
const ownerSchema = z.object({ systemId: z.string().min(1) });
const verifiedSchema = z.object({ level: z.int(), at: z.string(), passed: z.boolean() });
const tombstoneSchema = z.object({
  removedAt: z.number(),
  sequence: z.int(),
  storedBytes: z.number(),
  objects: z.array(z.string().regex(/^data\/[0-9]{4}\.[a-z]+(\.zst)?(\.age)?$/)),
});

export interface FolderRepositoryOptions {
  readonly path: string;
  /** A folder that must be a mount point of its own: without it an unmounted disk fills the root file system (B4). */
  readonly mustBeMount?: string;
}

/** Opens a folder that already is a repository. Throws STORE_NOT_MOUNTED when its marker is missing, STORE_UNSAFE when others can reach it. */
export async function openFolderRepository(options: FolderRepositoryOptions): Promise<Repository> {
  await checkMount(options);
  await checkFolder(options.path);
  const { repositoryId } = await readMarker(options.path);
  return new FolderRepository(options, repositoryId);
}

/** Makes a repository of a missing or empty folder, and opens one that is there. Refuses a folder that holds anything else. */
export async function createFolderRepository(options: FolderRepositoryOptions): Promise<Repository> {
  await checkMount(options);
  await makePrivateFolder(options.path);
  const names = await readdir(options.path);
  if (!names.includes(MARKER)) {
    const others = names.filter((name) => name !== 'lost+found' && name !== `${MARKER}.partial`);
    if (others.length > 0)
      throw new Failure('STORE_UNSAFE', `${options.path} is not empty and is no repository: it holds "${others[0]}"`);
    await writeFileDurably(join(options.path, MARKER), `${canonicalJson({ format: 1, repositoryId: randomUUID() })}\n`);
  }
  return await openFolderRepository(options);
}

async function checkMount({ mustBeMount }: FolderRepositoryOptions): Promise<void> {
  if (mustBeMount === undefined) return;
  const [mount, parent] = await Promise.all([stat(mustBeMount), stat(dirname(mustBeMount))]).catch(() => []);
  if (mount === undefined || parent === undefined || mount.dev === parent.dev)
    throw new Failure('STORE_NOT_MOUNTED', `${mustBeMount} is not a mount point`);
}

async function readSmall(path: string): Promise<string> {
  const file = await openStored(path);
  try {
    if ((await file.stat()).size > MAX_SMALL_FILE) throw new Failure('STORE_UNSAFE', `${path} is too large`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

async function readJson<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  if ((await lstat(path).catch(() => undefined)) === undefined) return undefined;
  const text = await readSmall(path);
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    throw new Failure('STORE_UNSAFE', `${path} does not hold what it should`, { cause: error });
  }
}

async function readMarker(path: string): Promise<z.infer<typeof markerSchema>> {
  const marker = await readJson(join(path, MARKER), markerSchema);
  if (marker === undefined) throw new Failure('STORE_NOT_MOUNTED', `${path} has no ${MARKER}`);
  return marker;
}

const exists = async (path: string): Promise<boolean> => (await lstat(path).catch(() => undefined)) !== undefined;

/** True when a folder has objects, but neither a manifest nor the mark of one that was never finished: they may be all that is left of a good backup (B12). */
async function hasLostManifest(folder: string): Promise<boolean> {
  const data = await readdir(join(folder, 'data')).catch(() => []);
  if (!data.some((name) => /^[0-9]{4}\./.test(name)) || (await exists(join(folder, UNFINISHED)))) return false;
  return !(await exists(join(folder, MANIFEST)));
}

/** Removes the folder of a backup that was killed before it was marked; one that holds anything stays. */
async function removeEmpty(folder: string): Promise<void> {
  await rm(join(folder, `${UNFINISHED}.partial`), { force: true });
  for (const path of [join(folder, 'data'), folder])
    await rmdir(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'ENOENT') throw storeFailure(error, path);
    });
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
    const { repositoryId } = await readMarker(this.#options.path);
    if (repositoryId !== this.id)
      throw new Failure('STORE_NOT_MOUNTED', `${this.#options.path} now holds another repository (${repositoryId})`);
  }

  async freeBytes(): Promise<number> {
    return await freeBytes(this.#options.path);
  }

  async #target(ref: TargetRef, make: boolean, ...below: string[]): Promise<string> {
    return await descend(this.#options.path, [ref.environment, ref.host, ref.target, ...below], make);
  }

  async #exists(ref: TargetRef): Promise<boolean> {
    const path = join(this.#options.path, ref.environment, ref.host, ref.target, 'backups');
    return (await lstat(path).catch(() => undefined)) !== undefined;
  }

  async #backup(ref: TargetRef, backupId: string): Promise<string> {
    if (!uuidSchema.safeParse(backupId).success) throw new Failure('BAD_INPUT', 'a backup id is a UUID');
    const path = join(this.#options.path, ref.environment, ref.host, ref.target, 'backups', backupId);
    if ((await lstat(path).catch(() => undefined)) === undefined)
      throw new Failure('NOT_FOUND', `backup ${backupId} is not in the repository`);
    return await this.#target(ref, false, 'backups', backupId);
  }

  async begin(backup: NewBackup, systemId: string): Promise<BackupWriter> {
    await this.check();
    const { ref } = backup;
    const target = await this.#target(ref, true);
    const owner = await readJson(join(target, OWNER), ownerSchema);
    if (owner === undefined) await writeFileDurably(join(target, OWNER), `${canonicalJson({ systemId })}\n`);
    else if (owner.systemId !== systemId)
      throw new Failure(
        'STORE_FOREIGN',
        `${ref.environment}/${ref.host}/${ref.target} holds backups of system ${owner.systemId}, not of ${systemId}`,
      );
    const sequence = (await this.#lastSequence(ref)) + 1;
    const existing = await lstat(join(target, 'backups', backup.backupId)).catch(() => undefined);
    if (existing !== undefined) throw new Failure('STORE_UNSAFE', `backup ${backup.backupId} already has a folder`);
    const folder = dirname(await this.#target(ref, true, 'backups', backup.backupId, 'data'));
    await writeFileDurably(join(folder, UNFINISHED), '');
    return new FolderWriter(folder, this.id, backup, sequence);
  }

  async #lastSequence(ref: TargetRef): Promise<number> {
    const { backups } = await this.list(ref);
    const removed = [...(await this.#tombstones(ref)).values()].map((tombstone) => tombstone.sequence);
    return Math.max(0, ...backups.map(({ manifest }) => manifest.sequence), ...removed);
  }

  async #tombstones(ref: TargetRef): Promise<Map<string, z.infer<typeof tombstoneSchema>>> {
    const found = new Map<string, z.infer<typeof tombstoneSchema>>();
    const folder = join(this.#options.path, ref.environment, ref.host, ref.target, 'tombstones');
    if ((await lstat(folder).catch(() => undefined)) === undefined) return found;
    await this.#target(ref, false, 'tombstones');
    for (const name of await readdir(folder)) {
      const id = name.replace(/\.json$/, '');
      if (!name.endsWith('.json') || !uuidSchema.safeParse(id).success) continue;
      const tombstone = await readJson(join(folder, name), tombstoneSchema);
      if (tombstone !== undefined) found.set(id, tombstone);
    }
    return found;
  }

  async list(ref: TargetRef): Promise<{ backups: StoredBackup[]; broken: { backupId: string; reason: string }[] }> {
    const backups: StoredBackup[] = [];
    const broken: { backupId: string; reason: string }[] = [];
    if (!(await this.#exists(ref))) return { backups, broken };
    const folder = await this.#target(ref, false, 'backups');
    const removed = await this.#tombstones(ref);
    for (const backupId of (await readdir(folder)).sort()) {
      if (!uuidSchema.safeParse(backupId).success || removed.has(backupId)) continue;
      if (!(await exists(join(folder, backupId, MANIFEST)))) {
        if (await hasLostManifest(join(folder, backupId)))
          broken.push({ backupId, reason: 'MANIFEST_INVALID: its manifest is missing, its data is there' });
        continue;
      }
      try {
        backups.push(await this.read(ref, backupId));
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        broken.push({ backupId, reason: `${error.code}: ${error.message}` });
      }
    }
    return { backups: backups.sort((a, b) => a.manifest.sequence - b.manifest.sequence), broken };
  }

  async #manifest(
    ref: TargetRef,
    backupId: string,
  ): Promise<{ folder: string; manifest: Manifest; manifestSha256: string }> {
    const folder = await this.#backup(ref, backupId);
    const path = join(folder, MANIFEST);
    if (!(await exists(path))) throw new Failure('NOT_FOUND', `backup ${backupId} has no manifest`);
    const text = await readSmall(path);
    const manifest = parseManifest(text, { backupId, repositoryId: this.id, ...ref });
    return { folder, manifest, manifestSha256: sha256(text) };
  }

  async read(ref: TargetRef, backupId: string): Promise<StoredBackup> {
    const { folder, manifest, manifestSha256 } = await this.#manifest(ref, backupId);
    const verified = (await readJson(join(folder, VERIFIED), verifiedSchema)) ?? null;
    return { manifest, manifestSha256, verified };
  }

  /** A verdict that cannot be read hinders no restore. */
  async open(ref: TargetRef, backupId: string): Promise<ArtefactSource> {
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
  ): Promise<readonly Finding[]> {
    const folder = await this.#backup(ref, backupId);
    let manifest: Manifest;
    try {
      ({ manifest } = await this.#manifest(ref, backupId));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return [{ level: 0, object: MANIFEST, message: error.message }];
    }
    const findings: Finding[] = [];
    let done = 0;
    for (const object of manifest.objects) {
      signal.throwIfAborted();
      const path = join(folder, object.name);
      const found = await lstat(path).catch(() => undefined);
      const add = (at: 0 | 1, message: string): number => findings.push({ level: at, object: object.name, message });
      if (found === undefined) add(0, 'the object is missing');
      else if (!found.isFile()) add(0, 'the object is not a regular file');
      else if (found.size !== object.stored.size)
        add(0, `the object has ${found.size} bytes, its manifest says ${object.stored.size}`);
      else if (level === 1) {
        const damage = await hashObject(path, object, signal, (bytes) => {
          done += bytes;
          progress(done);
        });
        if (damage !== undefined) add(1, damage);
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
    await writeFileDurably(join(folder, VERIFIED), `${canonicalJson(verifiedSchema.parse(verdict))}\n`);
  }

  async remove(ref: TargetRef, backupId: string, now: number): Promise<number> {
    const { manifest } = await this.read(ref, backupId);
    const folder = await this.#target(ref, true, 'tombstones');
    const storedBytes = manifest.objects.reduce((sum, object) => sum + object.stored.size, 0);
    const objects = manifest.objects.map((object) => object.name);
    const tombstone = { removedAt: now, sequence: manifest.sequence, storedBytes, objects };
    await writeFileDurably(join(folder, `${backupId}.json`), `${canonicalJson(tombstone)}\n`);
    return storedBytes;
  }

  async purge(ref: TargetRef, now: number, graceMs: number): Promise<number> {
    let freed = 0;
    for (const [backupId, tombstone] of await this.#tombstones(ref)) {
      if (now - tombstone.removedAt < graceMs) continue;
      freed += await this.#purgeOne(ref, backupId, tombstone.objects);
    }
    return freed;
  }

  /** Manifest first: an abort in the middle leaves no backup that looks whole. Files that no manifest listed stay, and say so. */
  async #purgeOne(ref: TargetRef, backupId: string, objects: readonly string[]): Promise<number> {
    const tombstones = await this.#target(ref, false, 'tombstones');
    const backups = await this.#target(ref, false, 'backups');
    const folder = join(backups, backupId);
    let freed = 0;
    if ((await lstat(folder).catch(() => undefined)) !== undefined) {
      await checkFolder(folder);
      await rm(join(folder, MANIFEST), { force: true });
      await syncFolder(folder);
      if ((await lstat(join(folder, 'data')).catch(() => undefined)) !== undefined) {
        await checkFolder(join(folder, 'data'));
        for (const name of objects) {
          const size = (await lstat(join(folder, name)).catch(() => undefined))?.size ?? 0;
          await rm(join(folder, name), { force: true });
          freed += size;
        }
      }
      await rm(join(folder, VERIFIED), { force: true });
      await rm(join(folder, `${VERIFIED}.partial`), { force: true });
      await rm(join(folder, UNFINISHED), { force: true });
      await removeEmpty(folder);
    }
    await syncFolder(backups);
    await rm(join(tombstones, `${backupId}.json`), { force: true });
    await syncFolder(tombstones);
    return freed;
  }

  async sweep(ref: TargetRef, liveBackupIds: ReadonlySet<string>): Promise<readonly string[]> {
    const swept: string[] = [];
    if (!(await this.#exists(ref))) return swept;
    const folder = await this.#target(ref, false, 'backups');
    const removed = await this.#tombstones(ref);
    for (const backupId of await readdir(folder)) {
      if (!uuidSchema.safeParse(backupId).success || liveBackupIds.has(backupId) || removed.has(backupId)) continue;
      const path = join(folder, backupId);
      await checkFolder(path);
      // Published, and killed before its last step.
      if (await exists(join(path, MANIFEST))) await rm(join(path, UNFINISHED), { force: true });
      else if (await exists(join(path, UNFINISHED))) await removeUnfinished(path);
      else await removeEmpty(path);
      if (!(await exists(path))) swept.push(backupId);
    }
    if (swept.length > 0) await syncFolder(folder);
    return swept;
  }

  async storeNow(): Promise<number> {
    const path = join(this.#options.path, `.clock-${randomUUID()}`);
    try {
      await writeFileDurably(path, '');
      return (await stat(path)).mtimeMs;
    } finally {
      await rm(path, { force: true });
    }
  }

  async removed(ref: TargetRef): Promise<string[]> {
    return [...(await this.#tombstones(ref)).keys()];
  }
}
