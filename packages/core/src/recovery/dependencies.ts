import type { StoredBackup } from '../repository.ts';

/**
 * Marks backups whose dependency is missing, failed a verification or is not restorable itself as not restorable
 * (DEPENDENCY_MISSING).
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
    // Ends a cycle, which only a forged manifest can contain.
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

/** False for a backup that no trusted host has signed: what it says about itself must not matter to others. */
export const isFromTrustedHost = ({ restorable }: Pick<StoredBackup, 'restorable'>): boolean =>
  restorable.ok || (restorable.reason.code !== 'UNSIGNED' && restorable.reason.code !== 'UNKNOWN_KEY');

/** The ids of the backups of trusted hosts that directly depend on a backup. */
export function dependentsOf(backupId: string, backups: readonly StoredBackup[]): string[] {
  return backups
    .filter(isFromTrustedHost)
    .filter(({ manifest }) => manifest.dependsOn.includes(backupId))
    .map(({ manifest }) => manifest.backupId);
}
