import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createZstdCompress, constants as zlib } from 'node:zlib';
import {
  type ArtifactMeta,
  type BackupFacts,
  type BackupWriter,
  Bug,
  type EngineContext,
  Failure,
  type NewBackup,
} from '@lastgood/core';
import { publishFile, removeFile, storeFailure, syncFolder } from '@lastgood/host';
import { type Manifest, type ManifestObject, makeFinding } from '@lastgood/protocol';
import { HashingStream } from '../hashing.ts';
import { parseManifest, sealManifest, sha256 } from '../manifest-file.ts';
import { MANIFEST, removeUnfinished, UNFINISHED } from './incomplete-backup.ts';
import { readSmall } from './metadata-file.ts';
import { checkFolder } from './safe-path.ts';
import { digestOnDisk, equal } from './stored-object.ts';

const CHUNK = 1024 * 1024;
const ZSTD_LEVEL = 1;

/** One frame per artifact, with the checksum that zstd leaves out unless asked: without it a flipped bit decodes silently. */
export const zstdOptions = {
  chunkSize: CHUNK,
  params: { [zlib.ZSTD_c_compressionLevel]: ZSTD_LEVEL, [zlib.ZSTD_c_checksumFlag]: 1 },
};

/** Writes one backup into its folder. Nothing of it exists for readers until `publish`. */
export class FolderWriter implements BackupWriter {
  readonly #folder: string;
  readonly #repositoryId: string;
  readonly #backup: NewBackup;
  readonly #sequence: number;
  readonly #objects: ManifestObject[] = [];
  readonly #mayWrite: () => Promise<void>;
  /** Why what was read back may have come from memory; null while all came from the disk. */
  #fromMemory: string | null = null;
  #next = 1;
  readonly #run: Pick<EngineContext, 'signal' | 'progress'>;

  /** `mayWrite` throws when the target was taken over by another writer since. */
  constructor(
    folder: string,
    repositoryId: string,
    backup: NewBackup,
    sequence: number,
    mayWrite: () => Promise<void>,
    run: Pick<EngineContext, 'signal' | 'progress'> = {
      signal: new AbortController().signal,
      progress: () => undefined,
    },
  ) {
    this.#run = run;
    this.#mayWrite = mayWrite;
    this.#folder = folder;
    this.#repositoryId = repositoryId;
    this.#backup = backup;
    this.#sequence = sequence;
  }

  async add(meta: ArtifactMeta, write: (sink: PassThrough) => Promise<void>): Promise<ManifestObject> {
    if (!/^[a-z]+$/.test(meta.extension)) throw new Bug(`extension ${meta.extension}`);
    const name = `data/${String(this.#next++).padStart(4, '0')}.${meta.extension}.zst`;
    const path = join(this.#folder, name);
    const produced = new HashingStream();
    const stored = new HashingStream();
    await publishFile(path, async (file) => {
      const entry = new PassThrough({ highWaterMark: CHUNK });
      const storing = pipeline(entry, produced, createZstdCompress(zstdOptions), stored, file);
      storing.catch(() => undefined);
      try {
        await write(entry);
        entry.end();
      } catch (error) {
        // The disk's failure breaks the tool's pipe: name the first cause, not the second.
        const cause = error instanceof Error ? error : new Error(String(error));
        if (!entry.destroyed) entry.destroy(cause);
        await storing.catch((failure: unknown) => {
          if (failure !== cause && isStoreError(failure)) throw storeFailure(failure, path);
        });
        throw error;
      }
      await storing;
    });
    const object: ManifestObject = {
      name,
      role: meta.role,
      database: meta.database,
      compression: 'zstd',
      encryption: null,
      produced: produced.digest(),
      stored: stored.digest(),
    };
    await this.#readBack(path, object);
    this.#objects.push(object);
    return object;
  }

  /** The bytes on the disk, not those that were sent there or are still in memory, make a backup good (A9). */
  async #readBack(path: string, object: ManifestObject): Promise<void> {
    const { signal, progress } = this.#run;
    const totalBytes = object.stored.size;
    let doneBytes = 0;
    const { digest, fromMemory } = await digestOnDisk(path, signal, (bytes) => {
      doneBytes += bytes;
      progress({ phase: 'read-back', doneBytes, totalBytes });
    });
    this.#fromMemory ??= fromMemory;
    if (equal(digest, object.stored)) return;
    await removeFile(path);
    throw new Failure('IO_ERROR', `${object.name} was read back with other bytes than were written`);
  }

  async publish(facts: BackupFacts, finishedAt: string): Promise<{ manifest: Manifest; manifestSha256: string }> {
    const { ref, ...backup } = this.#backup;
    const { text, manifest } = sealManifest({
      format: 1,
      backupId: backup.backupId,
      jobId: backup.jobId,
      attempt: backup.attempt,
      sequence: this.#sequence,
      repositoryId: this.#repositoryId,
      ...ref,
      engine: backup.engine,
      kind: facts.kind,
      startedAt: backup.startedAt,
      snapshotAt: facts.snapshotAt,
      finishedAt,
      lastgoodVersion: backup.lastgoodVersion,
      tool: facts.tool,
      server: facts.server,
      objects: this.#objects,
      facts: facts.facts,
      warnings: [
        ...facts.warnings,
        ...(this.#fromMemory === null
          ? []
          : [makeFinding('READ_BACK_FROM_MEMORY', null, { reason: this.#fromMemory })]),
      ],
    });
    await this.#mayWrite();
    await checkFolder(this.#folder);
    const path = join(this.#folder, MANIFEST);
    await publishFile(path, async (sink) => {
      await new Promise<void>((resolve, reject) => sink.on('close', resolve).on('error', reject).end(text));
    });
    const read = await readSmall(path);
    parseManifest(read, { backupId: manifest.backupId, repositoryId: manifest.repositoryId, ...ref });
    // The backup is there and whole: a mark that stays is no reason to lose it, the sweep takes it away.
    await removeFile(join(this.#folder, UNFINISHED))
      .then(() => syncFolder(this.#folder))
      .catch(() => undefined);
    return { manifest, manifestSha256: sha256(read) };
  }

  /** Never fails because of the disk: what made the caller give up is what people have to hear of. The sweep removes what is left. */
  async abandon(): Promise<void> {
    await removeUnfinished(this.#folder).catch((error: unknown) => {
      if (!(error instanceof Failure)) throw error;
    });
  }
}

function isStoreError(error: unknown): boolean {
  return error instanceof Error && 'code' in error && /^(ENOSPC|EDQUOT|EIO|EROFS|EFBIG)$/.test(String(error.code));
}
