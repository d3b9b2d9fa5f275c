import { Failure, type ObjectStore } from '@lastgood/core';
import { makeFinding, type TargetRef, type VerificationFinding } from '@lastgood/protocol';
import { findDamage } from '../pipeline/read-object.ts';
import { hasData } from './incomplete-backup.ts';
import { backupPrefix, MANIFEST } from './layout.ts';
import { FORMAT, newerFormat } from './manifest.ts';
import { checkPresence } from './presence-check.ts';
import type { FoundManifest, StoredBackups } from './stored-backups.ts';

export interface VerificationRun {
  readonly signal: AbortSignal;
  /** So many bytes were read so far. */
  readonly progress: (doneBytes: number) => void;
  readonly remark: (text: string) => void;
}

/** Levels 0 and 1 of a backup, see `Repository.verify`. */
export async function verifyObjects(
  store: ObjectStore,
  backups: StoredBackups,
  ref: TargetRef,
  backupId: string,
  level: 0 | 1,
  { signal, progress, remark }: VerificationRun,
): Promise<VerificationFinding[]> {
  const prefix = backupPrefix(ref, backupId);
  const found = await manifestOrFinding(store, backups, ref, backupId);
  if ('level' in found) return [found];
  const { manifest, restorable } = found;
  if (manifest.format > FORMAT && !restorable.ok) throw newerFormat(backupId, restorable.reason.params);
  const findings: VerificationFinding[] = [];
  let done = 0;
  for (const object of manifest.objects) {
    signal.throwIfAborted();
    const seen = await checkPresence(store, prefix, object);
    if (seen !== undefined) findings.push(seen);
    else if (level === 1) {
      const counted = (bytes: number): void => {
        done += bytes;
        progress(done);
      };
      const reading = { signal, progress: counted, remark };
      const damage = await findDamage(store, `${prefix}${object.name}`, object, reading);
      if (damage !== undefined) findings.push({ level: 1, object: object.name, ...damage });
    }
  }
  return findings;
}

async function manifestOrFinding(
  store: ObjectStore,
  backups: StoredBackups,
  ref: TargetRef,
  backupId: string,
): Promise<FoundManifest | VerificationFinding> {
  try {
    return await backups.manifest(ref, backupId);
  } catch (error) {
    if (!(error instanceof Failure) || !['NOT_FOUND', 'MANIFEST_INVALID', 'REPOSITORY_UNSAFE'].includes(error.code))
      throw error;
    if (error.code === 'NOT_FOUND' && !(await hasData(store, ref, backupId))) throw error;
    return { level: 0, object: MANIFEST, ...makeFinding('MANIFEST_UNREADABLE', null, { reason: error.message }) };
  }
}
