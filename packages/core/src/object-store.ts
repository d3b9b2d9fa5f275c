import type { Readable } from 'node:stream';
import { Bug } from './failure.ts';

/** What a store offers beyond the required semantics. The format adapts to it and never asks which store it is. */
export interface StoreCapabilities {
  /** A put over an existing object replaces it in one step: readers receive the old bytes or the new ones, never NOT_FOUND. */
  readonly atomicPut: boolean;
  /** The medium itself decides `ifAbsent`: of several writers exactly one succeeds. Without it `ifAbsent` is refused. */
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
  /** Null when the store could not tell: `stat` reports the reason. */
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
   * Read the medium, not a cache of this host. `onCached` receives the reason when the store could not do so. A store without
   * `localReadBack` has no such cache and ignores this.
   */
  readonly fresh?: { readonly onCached: (reason: string) => void };
}

/**
 * A medium for objects: a folder, a bucket, a map. It knows nothing of backups; the repository format is written once, above it.
 * Object names are store keys that the format makes (`prod/db-1/shop/backups/<id>/data/0001.dump.zst`), never paths that people type.
 *
 * What every store guarantees:
 * - Durability: when `put` or `remove` resolves, the change survives a power cut.
 * - Read-after-write: `get` and `stat` see every change that resolved before. `list` may lag behind: it finds names, and
 *   absence from a listing proves nothing.
 * - No partial bytes: a name holds all bytes of a put or none. An interrupted or failed put leaves nothing under the name (the
 *   previous object stays) but may leave a partial write, which `list` does not show and `removePartials` removes.
 * - An unknown outcome is a failure: when `put` or `remove` fails, the change may have happened nevertheless.
 * - No retries. No change other than the one asked for.
 *
 * Errors are a `Failure` with one of these codes: NOT_FOUND (the store states that there is no such object), OBJECT_EXISTS,
 * NO_SPACE, IO_ERROR (the medium failed or did not answer: says nothing about the object), REPOSITORY_UNSAFE (the name is taken by
 * something that is not an object, or others can change it), REPOSITORY_NOT_MOUNTED. An error of the body of a put and the
 * reason of an aborted signal are passed on unchanged.
 */
export interface ObjectStore {
  readonly capabilities: StoreCapabilities;
  /** Throws when the medium cannot be used as it is, such as REPOSITORY_NOT_MOUNTED and REPOSITORY_UNSAFE. */
  check(): Promise<void>;
  /** Stores an object under a name, replacing the previous one. Consumes the body; destroys it on failure. */
  put(name: string, body: Readable | Uint8Array, options?: PutOptions): Promise<void>;
  /** Opens an object; NOT_FOUND when there is none. A read that fails later destroys the stream with the failure. */
  get(name: string, options?: GetOptions): Promise<Readable>;
  /** Undefined when there is no such object. */
  stat(name: string): Promise<ObjectStat | undefined>;
  /**
   * All objects below a prefix (empty, or ending with `/`), at any depth, in any order. Something else below the prefix that
   * hides names, such as a folder that cannot be read, is listed under its own name with `stat: null`.
   */
  list(prefix: string): AsyncIterable<ListedObject>;
  /** Removes an object; one that does not exist is no error. */
  remove(name: string): Promise<void>;
  /**
   * Removes the partial writes that interrupted puts left below a prefix, except those of names that `isInUse` accepts; it may be
   * asked about a prefix first, and then accepts all names below. Returns the names that the writes were meant for. What is not in
   * use must not be written to meanwhile.
   */
  removePartials(prefix: string, isInUse: (name: string) => boolean): Promise<readonly string[]>;
  /** The time by the clock of the store, in ms since the epoch: the one that `modifiedAt` is taken from. */
  clock(): Promise<number>;
  /** Bytes that can still be stored. Absent when the store has no such limit. */
  readonly freeBytes?: () => Promise<number>;
  /** Where an object, or with an empty name the whole store, lies; for messages to people: a path, a URL. */
  locate(name: string): string;
}

const PART = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$/;

/** True for a name that every store can hold. Names never differ by case alone. */
export function isObjectName(name: string): boolean {
  return name.length <= 900 && name.split('/').every((part) => PART.test(part) && !part.endsWith('.partial'));
}

/** Throws Bug for a name that no store can hold: names are made by us, so it is our defect. */
export function assertObjectName(name: string): void {
  if (!isObjectName(name)) throw new Bug(`not an object name: ${JSON.stringify(name)}`);
}

/** Throws Bug unless a prefix is empty or ends with `/` after an object name. */
export function assertPrefix(prefix: string): void {
  if (prefix !== '' && !(prefix.endsWith('/') && isObjectName(prefix.slice(0, -1))))
    throw new Bug(`not a prefix: ${JSON.stringify(prefix)}`);
}
