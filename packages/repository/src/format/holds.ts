import { Failure, type ObjectStore } from '@lastgood/core';
import { type Hold, instantSchema, type TargetRef } from '@lastgood/protocol';
import { z } from 'zod';
import { canonicalJson } from './canonical-json.ts';
import { holdName, holdsPrefix, idOfFile } from './layout.ts';
import { namesBelow, readJson } from './metadata.ts';
import { putOnce } from './put-once.ts';

const holdSchema = z.object({ reason: z.string(), by: z.string(), at: instantSchema });
/** A hold that cannot be read still holds: damage must not release a backup. */
const UNREADABLE: Hold = { reason: 'the hold cannot be read', by: null, at: null };

/** The hold of one backup; undefined when it is not held. */
export async function readHold(store: ObjectStore, ref: TargetRef, backupId: string): Promise<Hold | undefined> {
  try {
    return await readJson(store, holdName(ref, backupId), holdSchema);
  } catch (error) {
    if (error instanceof Failure && error.code !== 'BAD_INPUT') return UNREADABLE;
    throw error;
  }
}

/** The held backups of a target. */
export async function readHolds(store: ObjectStore, ref: TargetRef): Promise<Map<string, Hold>> {
  const holds = new Map<string, Hold>();
  const prefix = holdsPrefix(ref);
  for (const name of await namesBelow(store, prefix)) {
    const backupId = idOfFile(prefix, name);
    const hold = backupId === undefined ? undefined : await readHold(store, ref, backupId);
    if (backupId !== undefined && hold !== undefined) holds.set(backupId, hold);
  }
  return holds;
}

/** False when the backup is held already: the first hold stays. */
export async function writeHold(
  store: ObjectStore,
  ref: TargetRef,
  backupId: string,
  hold: z.infer<typeof holdSchema>,
): Promise<boolean> {
  return await putOnce(store, holdName(ref, backupId), `${canonicalJson(holdSchema.parse(hold))}\n`);
}
