import type { Writable } from 'node:stream';
import {
  type ArtifactMeta,
  type BackupFacts,
  type BackupWriter,
  Bug,
  Failure,
  type NewBackup,
  type ObjectStore,
  type SegmentLog,
} from '@lastgood/core';
import { type Manifest, type ManifestObject, makeFinding } from '@lastgood/protocol';
import { encodingWith, suffixOf } from '../pipeline/encoding.ts';
import type { RepositoryKeys } from '../pipeline/keys.ts';
import { type Run, storeObject } from '../pipeline/store-object.ts';
import { removeIncomplete } from './incomplete-backup.ts';
import { backupPrefix, dataName, INCOMPLETE, MANIFEST } from './layout.ts';
import { lockBackup } from './locks.ts';
import { FORMAT, parseManifest, sealManifest } from './manifest.ts';
import { readText, sha256 } from './metadata.ts';
import type { Signer } from './signature.ts';

export interface NewBackupInRepository extends NewBackup {
  readonly repositoryId: string;
  readonly sequence: number;
}

export interface BackupWriterContext {
  /** Throws when another writer has taken the target over since. */
  readonly checkWriter: () => Promise<void>;
  readonly log: (streamId: string) => SegmentLog;
  readonly keys: RepositoryKeys;
  /** Signs the manifest; without it, it stays unsigned. */
  readonly signer: Signer | undefined;
  /** For how long the published backup is locked; 0 when it is not. */
  readonly lockMs: number;
  readonly run: Run;
}

/** Writes one backup into a store. Nothing of it exists for readers until `publish`. */
export class StoreBackupWriter implements BackupWriter {
  readonly #store: ObjectStore;
  readonly #backup: NewBackupInRepository;
  readonly #prefix: string;
  readonly #context: BackupWriterContext;
  readonly #objects: ManifestObject[] = [];
  /** Also of artifacts that failed: their bytes may be in the store all the same. */
  readonly #names: string[] = [];
  /** Why what was read back may have come from memory; null while all came from the medium. */
  #cached: string | null = null;

  constructor(store: ObjectStore, backup: NewBackupInRepository, context: BackupWriterContext) {
    this.#store = store;
    this.#backup = backup;
    this.#prefix = backupPrefix(backup.ref, backup.backupId);
    this.#context = context;
  }

  log(streamId: string): SegmentLog {
    return this.#context.log(streamId);
  }

  async add(meta: ArtifactMeta, write: (sink: Writable) => Promise<void>): Promise<ManifestObject> {
    if (!/^[a-z]+$/.test(meta.extension)) throw new Bug(`extension ${meta.extension}`);
    const encoding = encodingWith(this.#context.keys);
    const name = dataName(this.#names.length + 1, `${meta.extension}${suffixOf(encoding)}`);
    this.#names.push(name);
    const { produced, stored, cached } = await storeObject(
      this.#store,
      `${this.#prefix}${name}`,
      write,
      this.#context.run,
      { encoding },
    );
    this.#cached ??= cached;
    const object: ManifestObject = { name, role: meta.role, contents: meta.contents, ...encoding, produced, stored };
    this.#objects.push(object);
    return object;
  }

  async publish(facts: BackupFacts, finishedAt: string): Promise<{ manifest: Manifest; manifestSha256: string }> {
    const { ref, ...backup } = this.#backup;
    const content = {
      format: FORMAT,
      backupId: backup.backupId,
      jobId: backup.jobId,
      attempt: backup.attempt,
      sequence: backup.sequence,
      repositoryId: backup.repositoryId,
      ...ref,
      engine: backup.engine,
      method: facts.method,
      startedAt: backup.startedAt,
      recoveryPoint: facts.recoveryPoint,
      finishedAt,
      lastgoodVersion: backup.lastgoodVersion,
      tool: facts.tool,
      server: facts.server,
      objects: this.#objects,
      contents: [...facts.contents],
      dependsOn: [...facts.dependsOn],
      logRange: facts.logRange,
      encryption: encodingWith(this.#context.keys).encryption,
      engineFacts: facts.engineFacts,
      warnings: [
        ...facts.warnings,
        ...(this.#cached === null ? [] : [makeFinding('READ_BACK_FROM_MEMORY', null, { reason: this.#cached })]),
      ],
    };
    const { text, manifest } = sealManifest(content, this.#context.signer);
    await this.#context.checkWriter();
    const name = `${this.#prefix}${MANIFEST}`;
    await this.#store.put(name, Buffer.from(text));
    const read = await readText(this.#store, name);
    if (read === undefined) throw new Failure('IO_ERROR', `${this.#store.locate(name)} is missing after it was stored`);
    parseManifest(read, { backupId: manifest.backupId, repositoryId: manifest.repositoryId, ...ref }, []);
    await lockBackup(this.#store, ref, manifest, this.#context.lockMs);
    // The backup is complete. A mark that stays must not fail it; the sweep removes the mark.
    await this.#store.remove(`${this.#prefix}${INCOMPLETE}`).catch((error: unknown) => {
      if (!(error instanceof Failure)) throw error;
    });
    return { manifest, manifestSha256: sha256(read) };
  }

  /** Never fails because of the store: the reason for giving up is what people need to see. The sweep removes what is left. */
  async abandon(): Promise<void> {
    const { ref, backupId } = this.#backup;
    await removeIncomplete(this.#store, ref, backupId, this.#names).catch((error: unknown) => {
      if (!(error instanceof Failure)) throw error;
    });
  }
}
