import { randomUUID } from 'node:crypto';
import { mkdir, rmdir } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  assertObjectName,
  assertPrefix,
  Failure,
  type GetOptions,
  isObjectName,
  type ListedObject,
  type ObjectStat,
  type ObjectStore,
  type PutOptions,
} from '@lastgood/core';
import {
  dropFromMemory,
  freeBytes,
  publishFile,
  removeFile,
  storeFailure,
  syncFolder,
  touchFile,
} from '@lastgood/host';
import { streamFile } from './file-stream.ts';
import { checkMount, type FolderLocation } from './mount.ts';
import { checkRoot, isAbsent, isSafeFolder, namesIn, openStored, statIfPresent } from './safe-path.ts';

/** How often a put begins anew because its folder was removed, empty, while it was on its way there. */
const MAX_TRIES = 10;
/** `<object>.<random>.partial` of a put, `<object>.lock.partial` of one that decides which object is the first. */
const PARTIAL = /^(.+?)(?:\.(?:[0-9a-f]{8}|lock))?\.partial$/;

export interface FolderStoreOptions extends FolderLocation {
  /** Whose file the clock is read from. Concurrent users of one folder each have their own. */
  readonly clockOwner: string;
}

/** The folders on the way to an object, or to what lies below a prefix. */
const foldersOf = (nameOrPrefix: string): string[] => nameOrPrefix.split('/').slice(0, -1);

/** How a put failed: whether its body did, and with what. */
interface Transfer {
  bodyError: { readonly error: unknown } | undefined;
  fileFailed: boolean;
}

/**
 * Objects in a folder of this host: a disk, or a mounted network file system. Folders have mode 0700 and files 0600; a symbolic link
 * or a folder that others can reach, anywhere on the way to an object, is refused (B4, B16). Empty folders are removed.
 */
export class FolderStore implements ObjectStore {
  readonly capabilities = { atomicPut: true, conditionalPut: true, objectLock: false, localReadBack: true };
  readonly freeBytes: () => Promise<number>;
  readonly #options: FolderStoreOptions;
  /** What the path of everything in the store begins with. */
  readonly #below: string;
  /** Folders whose names this instance has made durable. */
  readonly #durable = new Set<string>();

  constructor(options: FolderStoreOptions) {
    this.#options = { ...options, path: resolve(options.path) };
    this.#below = join(this.#options.path, sep);
    this.freeBytes = () => freeBytes(options.path);
  }

  async check(): Promise<void> {
    await checkMount(this.#options);
    await checkRoot(this.#options.path);
  }

  locate(name: string): string {
    return join(this.#options.path, name);
  }

  async put(name: string, body: Readable | Uint8Array, { ifAbsent = false }: PutOptions = {}): Promise<void> {
    assertObjectName(name);
    const source = body instanceof Readable ? body : Readable.from([Buffer.from(body)], { objectMode: false });
    const transfer: Transfer = { bodyError: undefined, fileFailed: false };
    // Listened to from the start: a body may fail while the folders are made.
    source.once('error', (error) => {
      transfer.bodyError = { error };
    });
    try {
      for (let tries = 0; tries < MAX_TRIES; tries += 1) {
        const published = await this.#tryPut(name, source, transfer, ifAbsent);
        if (published === 'published') return;
        if (published === 'exists') throw new Failure('OBJECT_EXISTS', `${this.locate(name)} exists`);
      }
      throw new Failure('IO_ERROR', `the folder of ${this.locate(name)} was removed again and again`);
    } catch (error) {
      source.destroy();
      await this.#pruneFolders(dirname(this.locate(name)));
      throw error;
    }
  }

  /** `again`: the folder was removed before the first byte was taken from the body. */
  async #tryPut(
    name: string,
    source: Readable,
    transfer: Transfer,
    ifAbsent: boolean,
  ): Promise<'published' | 'exists' | 'again'> {
    const path = this.locate(name);
    if (!(await this.#makeFolder(name))) return 'again';
    let begun = false;
    try {
      const write = async (sink: Writable): Promise<void> => {
        begun = true;
        if (source.errored !== null) throw source.errored;
        // pipeline destroys each stream with the error of the other: the one that fails first is the cause.
        sink.once('error', () => {
          transfer.fileFailed = transfer.bodyError === undefined;
        });
        await pipeline(source, sink);
      };
      const partial = `${path}.${randomUUID().slice(0, 8)}.partial`;
      return (await publishFile(path, write, { partial, ifAbsent })) ? 'published' : 'exists';
    } catch (error) {
      if (!begun && error instanceof Failure && isAbsent(error.cause)) return 'again';
      if (transfer.bodyError !== undefined && !transfer.fileFailed) throw transfer.bodyError.error;
      throw error;
    }
  }

  async get(name: string, { signal, range, fresh }: GetOptions = {}): Promise<Readable> {
    assertObjectName(name);
    signal?.throwIfAborted();
    const path = this.locate(name);
    const file = (await this.#hasFolder(name)) ? await this.#open(path, fresh, signal) : undefined;
    if (file === undefined) throw new Failure('NOT_FOUND', `${path} does not exist`);
    const stream = streamFile(file, path, range?.start, range?.end);
    const abort = (): void => void stream.destroy(signal?.reason);
    signal?.addEventListener('abort', abort);
    stream.once('close', () => signal?.removeEventListener('abort', abort));
    if (signal?.aborted) abort();
    return stream;
  }

  async #open(path: string, fresh: GetOptions['fresh'], signal = new AbortController().signal) {
    if (fresh !== undefined && (await statIfPresent(path))?.isFile()) {
      const reason = await dropFromMemory(path, signal);
      if (reason !== null) fresh.onCached(reason);
    }
    return await openStored(path);
  }

  async stat(name: string): Promise<ObjectStat | undefined> {
    assertObjectName(name);
    if (!(await this.#hasFolder(name))) return undefined;
    const found = await statIfPresent(this.locate(name));
    if (found === undefined) return undefined;
    if (!found.isFile()) throw new Failure('REPOSITORY_UNSAFE', `${this.locate(name)} is not a regular file`);
    return { size: found.size, modifiedAt: found.mtimeMs };
  }

  async *list(prefix: string): AsyncGenerator<ListedObject> {
    assertPrefix(prefix);
    if (await this.#hasFolder(prefix)) yield* this.#listFolder(prefix);
  }

  async *#listFolder(prefix: string): AsyncGenerator<ListedObject> {
    const names = (await namesIn(this.locate(prefix))).filter(isObjectName).map((name) => `${prefix}${name}`);
    const found = await Promise.allSettled(names.map((name) => statIfPresent(this.locate(name))));
    for (const [index, name] of names.entries()) {
      const result = found[index];
      if (result?.status !== 'fulfilled') yield { name, stat: null };
      else if (result.value?.isFile())
        yield { name, stat: { size: result.value.size, modifiedAt: result.value.mtimeMs } };
      else if (result.value !== undefined) yield* this.#listBelow(name);
    }
  }

  /** What lies in a folder; or its own name when it cannot be read, so that nobody takes its objects for missing. */
  async *#listBelow(name: string): AsyncGenerator<ListedObject> {
    try {
      if (await isSafeFolder(this.locate(name))) yield* this.#listFolder(`${name}/`);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      yield { name, stat: null };
    }
  }

  async remove(name: string): Promise<void> {
    assertObjectName(name);
    if (!(await this.#hasFolder(name))) return;
    const path = this.locate(name);
    await removeFile(path);
    await syncFolder(dirname(path));
    await this.#pruneFolders(dirname(path));
  }

  /** Removes folders that are empty, upwards. One that stays harms nobody, so this never fails. */
  async #pruneFolders(folder: string): Promise<void> {
    for (let path = folder; path.startsWith(this.#below); path = dirname(path)) {
      const removed = await rmdir(path)
        .then(() => syncFolder(dirname(path)))
        .then(
          () => true,
          () => false,
        );
      if (!removed) return;
      this.#durable.delete(path);
    }
  }

  async removePartials(prefix: string, isInUse: (name: string) => boolean): Promise<readonly string[]> {
    assertPrefix(prefix);
    const removed = new Set<string>();
    let first: Failure | undefined;
    const sweepEntry = async (below: string, entry: string): Promise<void> => {
      const path = join(this.#options.path, below, entry);
      const object = PARTIAL.exec(entry)?.[1];
      const found = await statIfPresent(path);
      if (found?.isDirectory()) {
        const isSwept = isObjectName(entry) && !isInUse(`${below}${entry}/`);
        if (isSwept && (await isSafeFolder(path))) await sweep(`${below}${entry}/`);
      }
      if (object !== undefined && found?.isDirectory() === false && !isInUse(`${below}${object}`)) {
        await removeFile(path);
        removed.add(`${below}${object}`);
      }
    };
    const sweep = async (below: string): Promise<void> => {
      const folder = join(this.#options.path, below);
      for (const entry of await namesIn(folder))
        await sweepEntry(below, entry).catch((error: unknown) => {
          if (!(error instanceof Failure)) throw error;
          first ??= error;
        });
      // A put that was killed may have made no more than the folders. A put that is on its way makes them again.
      await this.#pruneFolders(folder);
    };
    if (await this.#hasFolder(prefix)) await sweep(prefix);
    if (first !== undefined) throw first;
    return [...removed];
  }

  /** One file per user of the folder, which stays: reading the clock leaves nothing else behind, and no two users meet. */
  async clock(): Promise<number> {
    return await touchFile(join(this.#options.path, `.clock-${this.#options.clockOwner}`));
  }

  /** False when a folder on the way to an object or a prefix is missing; each that is there is checked. */
  async #hasFolder(name: string): Promise<boolean> {
    await checkRoot(this.#options.path);
    let path = this.#options.path;
    for (const part of foldersOf(name)) {
      path = join(path, part);
      if (!(await isSafeFolder(path))) return false;
    }
    return true;
  }

  /**
   * Makes the folders on the way to an object, durably; each is checked. A folder that is there may be one whose maker was killed
   * before its name was durable, so it is made durable as well. False when one was removed meanwhile.
   */
  async #makeFolder(name: string): Promise<boolean> {
    await checkRoot(this.#options.path);
    let path = this.#options.path;
    for (const part of foldersOf(name)) {
      const parent = path;
      path = join(path, part);
      const made = await mkdir(path, { mode: 0o700 }).then(
        () => true,
        (error: NodeJS.ErrnoException) => {
          if (error.code === 'EEXIST') return false;
          if (error.code === 'ENOENT') return undefined;
          throw storeFailure(error, path);
        },
      );
      if (made === undefined || !(await this.#isFolderInPlace(path))) return false;
      if (made || !this.#durable.has(path)) await syncFolder(parent);
      this.#durable.add(path);
    }
    return true;
  }

  async #isFolderInPlace(path: string): Promise<boolean> {
    const found = await statIfPresent(path);
    if (found?.isFile()) throw new Failure('REPOSITORY_UNSAFE', `${path} is not a folder`);
    return found !== undefined && (await isSafeFolder(path));
  }
}
