import { randomBytes } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { Failure, type ObjectLocks } from '@lastgood/core';
import type { S3Store } from './s3-store.ts';

const PROBE = /^probe-[0-9a-f]{16}$/;
/** True for an object that a probe made. One that was interrupted leaves it behind. */
export const isProbe = (name: string): boolean => PROBE.test(name);

export interface S3Probe {
  /** By how much the clock of the server is ahead of this host, in ms. It reports whole seconds. */
  readonly clockAheadMs: number;
  /** The server replaced an object that it should only have created. */
  readonly ignoresIfNoneMatch: boolean;
  /** The repository locks backups, and the server removed an object that was held. */
  readonly ignoresLocks: boolean;
}

/**
 * Stores, reads, lists and removes an object, as a backup does. Throws the failure of the first request that is refused, which names it.
 * `now` returns ms since the epoch.
 */
export async function probeS3Store(store: S3Store, now: () => number): Promise<S3Probe> {
  const name = `probe-${randomBytes(8).toString('hex')}`;
  const bytes = randomBytes(64);
  const sent = now();
  const clockAheadMs = (await store.clock()) - Math.round((sent + now()) / 2);
  try {
    await store.put(name, bytes);
    if (!(await buffer(await store.get(name))).equals(bytes))
      throw new Failure('IO_ERROR', `${store.locate(name)} was read back with other bytes than were written`);
    const ignoresIfNoneMatch = store.capabilities.conditionalPut && (await canReplace(store, name));
    for await (const _listed of store.list(`${name}/`)) break;
    await store.removePartials(`${name}/`, () => false);
    const ignoresLocks = store.locks !== undefined && (await canRemoveHeld(store, store.locks, name));
    await store.remove(name);
    return { clockAheadMs, ignoresIfNoneMatch, ignoresLocks };
  } catch (error) {
    // The first failure counts.
    await store.remove(name).catch(() => undefined);
    throw error;
  }
}

async function canRemoveHeld(store: S3Store, locks: ObjectLocks, name: string): Promise<boolean> {
  await locks.setHold(name, true);
  try {
    await store.remove(name);
    return true;
  } catch (error) {
    if (!(error instanceof Failure && error.code === 'OBJECT_LOCKED')) throw error;
    await locks.setHold(name, false);
    return false;
  }
}

async function canReplace(store: S3Store, name: string): Promise<boolean> {
  try {
    await store.put(name, Buffer.from('replaced'), { ifAbsent: true });
    return true;
  } catch (error) {
    if (error instanceof Failure && error.code === 'OBJECT_EXISTS') return false;
    throw error;
  }
}
