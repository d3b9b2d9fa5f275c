import type { Manifest } from '@lastgood/protocol';
import { isFromTrustedHost } from '../recovery/dependencies.ts';
import type { StoredBackup } from '../repository.ts';
import type { Judged } from '../verification/verdict.ts';
import type { GroupPart, RotationCandidate } from './rotation-input.ts';

/**
 * The groups of a backup: one for each of its contents, so that a created or dropped database does not start new groups. A backup of a
 * whole server is one group: it is restored as one, and the last one with a dropped database must not be kept forever.
 */
export function partsOf({ engine, method, contents, objects }: Manifest): GroupPart[] {
  const whole = {
    group: JSON.stringify([engine, method, null]),
    content: null,
    producedBytes: objects.reduce((sum, object) => sum + object.produced.size, 0),
  };
  if (objects.every((object) => object.contents === null)) return [whole];
  return contents.map(({ kind, name, bytes }) => ({
    group: JSON.stringify([engine, method, kind, name]),
    content: name,
    producedBytes: bytes,
  }));
}

/** Classifies a stored backup for retention and size checks. What a newer version or another host has written is not judged, and never removed. */
function classify({ verified, restorable }: StoredBackup): Judged {
  const verifiedLevel = verified?.passed === true ? verified.level : null;
  const isNewer = !restorable.ok && restorable.reason.code === 'NEWER_FORMAT';
  if (isNewer || !isFromTrustedHost({ restorable })) return { state: 'unknown', verifiedLevel };
  return { state: verified?.passed !== false && restorable.ok ? 'good' : 'bad', verifiedLevel };
}

/** The backups of a target as retention sees them. */
export const candidatesOf = (backups: readonly StoredBackup[]): RotationCandidate[] =>
  backups.map((backup) => ({
    backupId: backup.manifest.backupId,
    sequence: backup.manifest.sequence,
    finishedAt: backup.manifest.finishedAt,
    ...classify(backup),
    parts: partsOf(backup.manifest),
    dependsOn: isFromTrustedHost(backup) ? backup.manifest.dependsOn : [],
  }));
