import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import {
  assertObjectName,
  assertPrefix,
  Failure,
  type GetOptions,
  type ListedObject,
  type ObjectLocks,
  type ObjectStat,
  type ObjectStore,
  type PutOptions,
  type StoreCapabilities,
} from '@lastgood/core';

interface MemoryObject {
  readonly bytes: Buffer;
  readonly modifiedAt: number;
  /** When its lock ends, and whether it is held beyond that. */
  lockedUntil?: number;
  isHeld?: boolean;
}

export interface MemoryStoreOptions {
  readonly capabilities?: Partial<StoreCapabilities>;
  /** The clock of the store, in ms since the epoch. */
  readonly now?: () => number;
  /** Shares the objects of another store, like two hosts that use one bucket. */
  readonly sharing?: MemoryStore;
}

const CHUNK = 64 * 1024;

function* chunksOf(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += CHUNK) yield bytes.subarray(at, at + CHUNK);
}

/** An object store in memory: the semantics of a bucket, without the network. */
export class MemoryStore implements ObjectStore {
  readonly capabilities: StoreCapabilities;
  readonly #objects: Map<string, MemoryObject>;
  readonly #now: () => number;
  readonly locks?: ObjectLocks;

  constructor({ capabilities, now = Date.now, sharing }: MemoryStoreOptions = {}) {
    this.capabilities = {
      atomicPut: true,
      conditionalPut: true,
      objectLock: false,
      localReadBack: false,
      ...capabilities,
    };
    this.#now = now;
    this.#objects = sharing === undefined ? new Map() : sharing.#objects;
    if (this.capabilities.objectLock) this.locks = this.#makeLocks();
  }

  #makeLocks(): ObjectLocks {
    const existing = (name: string): MemoryObject => {
      const found = this.#objects.get(name);
      if (found === undefined) throw new Failure('NOT_FOUND', `object ${name} does not exist`);
      return found;
    };
    return {
      retain: async (name, until) => {
        const object = existing(name);
        object.lockedUntil = Math.max(until, object.lockedUntil ?? 0);
      },
      setHold: async (name, held) => {
        existing(name).isHeld = held;
      },
      lockedUntil: async (name) => this.#objects.get(name)?.lockedUntil ?? null,
    };
  }

  async check(): Promise<void> {}

  async put(name: string, body: Readable | Uint8Array, { ifAbsent = false }: PutOptions = {}): Promise<void> {
    assertObjectName(name);
    if (ifAbsent && !this.capabilities.conditionalPut)
      throw new Failure('COMMAND_UNSUPPORTED', 'this store does not support ifAbsent');
    const bytes = body instanceof Readable ? await buffer(body) : Buffer.from(body);
    if (ifAbsent && this.#objects.has(name)) throw new Failure('OBJECT_EXISTS', `${name} exists`);
    this.#objects.set(name, { bytes, modifiedAt: this.#now() });
  }

  async get(name: string, { signal, range }: GetOptions = {}): Promise<Readable> {
    assertObjectName(name);
    signal?.throwIfAborted();
    const found = this.#objects.get(name);
    if (found === undefined) throw new Failure('NOT_FOUND', `object ${name} does not exist`);
    const stream = Readable.from(chunksOf(found.bytes.subarray(range?.start ?? 0, range?.end)), { objectMode: false });
    const abort = (): void => void stream.destroy(signal?.reason);
    signal?.addEventListener('abort', abort);
    stream.once('close', () => signal?.removeEventListener('abort', abort));
    return stream;
  }

  async stat(name: string): Promise<ObjectStat | undefined> {
    assertObjectName(name);
    const found = this.#objects.get(name);
    return found && { size: found.bytes.length, modifiedAt: found.modifiedAt };
  }

  async *list(prefix: string): AsyncGenerator<ListedObject> {
    assertPrefix(prefix);
    for (const [name, { bytes, modifiedAt }] of [...this.#objects])
      if (name.startsWith(prefix)) yield { name, stat: { size: bytes.length, modifiedAt } };
  }

  async remove(name: string): Promise<void> {
    assertObjectName(name);
    const found = this.#objects.get(name);
    if (found?.isHeld === true || (found?.lockedUntil ?? 0) > this.#now())
      throw new Failure('OBJECT_LOCKED', `object ${name} is locked`);
    this.#objects.delete(name);
  }

  async removePartials(prefix: string): Promise<readonly string[]> {
    assertPrefix(prefix);
    return [];
  }

  async clock(): Promise<number> {
    return this.#now();
  }

  locate(name: string): string {
    return `memory:${name}`;
  }
}
