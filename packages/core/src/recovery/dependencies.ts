import type { StoredBackup } from '../repository.ts';

/**
 * The backups with what they depend on taken into account: one whose dependency is not there, failed a verification or cannot be
 * restored itself, cannot be restored either (DEPENDENCY_MISSING).
 */
export function checkDependencies(backups: readonly StoredBackup[]): StoredBackup[] {
  const byId = new Map(backups.map((backup) => [backup.manifest.backupId, backup]));
  const checked = new Map<string, StoredBackup>();
  const isUsable = (backupId: string): boolean => {
    const backup = byId.get(backupId);
    if (backup === undefined || backup.verified?.passed === false) return false;
    return check(backup).restorable.ok;
  };
  const check = (backup: StoredBackup): StoredBackup => {
    const { backupId, dependsOn } = backup.manifest;
    const known = checked.get(backupId);
    if (known !== undefined) return known;
    // Ends a circle, which only a forged manifest can make.
    checked.set(backupId, backup);
    const missing = backup.restorable.ok ? dependsOn.find((needed) => !isUsable(needed)) : undefined;
    if (missing === undefined) return backup;
    const reason = { code: 'DEPENDENCY_MISSING' as const, params: { backupId: missing } };
    const result = { ...backup, restorable: { ok: false as const, reason } };
    checked.set(backupId, result);
    return result;
  };
  return backups.map(check);
}

/** The ids of the backups that depend on one, directly. */
export function dependentsOf(backupId: string, backups: readonly StoredBackup[]): string[] {
  return backups
    .filter(({ manifest }) => manifest.dependsOn.includes(backupId))
    .map(({ manifest }) => manifest.backupId);
}
