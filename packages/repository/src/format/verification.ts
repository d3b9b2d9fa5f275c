import { Failure, type ObjectStore } from '@lastgood/core';
import { makeFinding, type Restorable, type TargetRef, type VerificationFinding } from '@lastgood/protocol';
import { findDamage } from '../pipeline/read-object.ts';
import { hasData } from './incomplete-backup.ts';
import { backupPrefix, MANIFEST } from './layout.ts';
import { FORMAT, notRestorable } from './manifest.ts';
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
  if (manifest.format > FORMAT && !restorable.ok) throw notRestorable(backupId, restorable.reason);
  const findings: VerificationFinding[] = level === 1 ? findingsOf(restorable) : [];
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

/** Nobody knows who wrote a backup without a trusted signature: its bytes may be as its manifest says, and all of it be forged. */
function findingsOf(restorable: Restorable): VerificationFinding[] {
  if (restorable.ok) return [];
  const { code, params } = restorable.reason;
  const found = { level: 1, object: MANIFEST } as const;
  if (code === 'UNSIGNED') return [{ ...found, ...makeFinding('MANIFEST_NOT_SIGNED', null) }];
  if (code === 'UNKNOWN_KEY')
    return [{ ...found, ...makeFinding('MANIFEST_KEY_UNKNOWN', null, { key: params['keyId'] ?? '' }) }];
  return [];
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
