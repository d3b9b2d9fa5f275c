import type { Readable } from 'node:stream';
import { Bug } from './failure.ts';

/** What a store offers beyond the required semantics. The format depends on capabilities, never on the type of a store. */
export interface StoreCapabilities {
  /** A put over an existing object replaces it in one step: readers receive the old bytes or the new ones, never NOT_FOUND. */
  readonly atomicPut: boolean;
  /** The medium itself enforces `ifAbsent`: exactly one of several writers succeeds. Without it `ifAbsent` is refused. */
  readonly conditionalPut: boolean;
  /** Objects can be locked against removal until an instant. */
  readonly objectLock: boolean;
  /** Reading an object back costs no transfer over a network, and `fresh` reads it from the medium instead of a cache. */
  readonly localReadBack: boolean;
}

export interface ObjectStat {
  readonly size: number;
  /** When the object was stored, by the clock of the store, in ms since the epoch. */
  readonly modifiedAt: number;
}

export interface ListedObject {
  readonly name: string;
  /** Null when the store could not read it: `stat` reports the reason. */
  readonly stat: ObjectStat | null;
}

export interface PutOptions {
  /** Fails with OBJECT_EXISTS when the name is taken. Needs the capability `conditionalPut`. */
  readonly ifAbsent?: boolean;
}

export interface GetOptions {
  readonly signal?: AbortSignal;
  /** Bytes from `start` up to but excluding `end` (the end of the object unless given). */
  readonly range?: { readonly start: number; readonly end?: number };
  /**
   * Reads from the medium instead of a cache of this host. When that is not possible, `onCached` receives the reason. A store without
   * `localReadBack` ignores this option.
   */
  readonly fresh?: { readonly onCached: (reason: string) => void };
}

/** Protects objects from removal. */
export interface ObjectLocks {
  /** Refuses the removal of an object until an instant in ms since the epoch. Never shortens a lock. */
  retain(name: string, until: number): Promise<void>;
  /** Refuses the removal of an object for as long as `held` is true. */
  setHold(name: string, held: boolean): Promise<void>;
  /** The end of the lock of an object in ms since the epoch, also when it has passed. Null when it has none, or does not exist. */
  lockedUntil(name: string): Promise<number | null>;
}

/**
 * A medium for objects: a folder, a bucket, a map. It knows nothing about backups; the repository format is built on top of it.
 * The format generates the object names (`prod/db-1/shop/backups/<id>/data/0001.dump.zst`); no user input is used as a path.
 *
 * What every store guarantees:
 * - Durability: when `put` or `remove` resolves, the change survives a power cut.
 * - Read-after-write: `get` and `stat` see every change that resolved before. `list` may lag behind, so a name that is missing
 *   from a listing may still exist.
 * - No partial bytes: a name holds all bytes of a put or none. An interrupted or failed put leaves nothing under the name (the
 *   previous object stays) but may leave a partial write, which `list` does not show and `removePartials` removes.
 * - An unknown outcome is a failure: when `put` or `remove` fails, the change may have happened.
 * - No side effects. A store behind a network repeats requests that fail, for a limited time.
 *
 * Errors are a `Failure` with one of these codes: NOT_FOUND (the store reports that the object does not exist), OBJECT_EXISTS,
 * NO_SPACE, IO_ERROR (the medium failed or did not respond; the object may exist), REPOSITORY_UNSAFE (the name is taken by
 * something that is not an object, or other users can change it), REPOSITORY_NOT_MOUNTED. Errors of the body of a put and
 * the reason of an aborted signal are passed on unchanged.
 */
export interface ObjectStore {
  readonly capabilities: StoreCapabilities;
  /** Throws when the medium cannot be used, such as with REPOSITORY_NOT_MOUNTED or REPOSITORY_UNSAFE. */
  check(): Promise<void>;
  /** Stores an object under a name, replacing the previous one. Consumes the body; destroys it on failure. */
  put(name: string, body: Readable | Uint8Array, options?: PutOptions): Promise<void>;
  /** Opens an object; throws NOT_FOUND when it does not exist. A read that fails later destroys the stream with the failure. */
  get(name: string, options?: GetOptions): Promise<Readable>;
  /** Undefined when the object does not exist. */
  stat(name: string): Promise<ObjectStat | undefined>;
  /**
   * Lists all objects below a prefix (empty, or ending with `/`), at any depth, in any order. A folder that cannot be read may hide
   * objects: it is listed under its own name with `stat: null`.
   */
  list(prefix: string): AsyncIterable<ListedObject>;
  /** Removes an object. Does nothing when it does not exist; throws OBJECT_LOCKED when a lock protects it. */
  remove(name: string): Promise<void>;
  /**
   * Removes the partial writes that interrupted puts left below a prefix, except those whose name `isInUse` accepts. `isInUse` may
   * also receive a prefix; when it accepts that, all names below are skipped. Nothing else may write to names that are not in use.
   * Returns the object names of the removed writes.
   */
  removePartials(prefix: string, isInUse: (name: string) => boolean): Promise<readonly string[]>;
  /** The current time in ms since the epoch, by the clock that `modifiedAt` uses. */
  clock(): Promise<number>;
  /** Bytes that can still be stored. Absent when the store has no such limit. */
  readonly freeBytes?: () => Promise<number>;
  /** Present with the capability `objectLock`. */
  readonly locks?: ObjectLocks;
  /** The location of an object as a path or URL, for messages. An empty name stands for the whole store. */
  locate(name: string): string;
}

const PART = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$/;

/** True for a name that is valid in every store. The format never uses two names that differ only by case. */
export function isObjectName(name: string): boolean {
  return name.length <= 900 && name.split('/').every((part) => PART.test(part) && !part.endsWith('.partial'));
}

/** Throws Bug for an invalid name: the format generates all names. */
export function assertObjectName(name: string): void {
  if (!isObjectName(name)) throw new Bug(`not an object name: ${JSON.stringify(name)}`);
}

/** Throws Bug unless a prefix is empty or ends with `/` after an object name. */
export function assertPrefix(prefix: string): void {
  if (prefix !== '' && !(prefix.endsWith('/') && isObjectName(prefix.slice(0, -1))))
    throw new Bug(`not a prefix: ${JSON.stringify(prefix)}`);
}
