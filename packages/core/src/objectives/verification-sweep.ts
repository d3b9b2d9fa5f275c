/** The newest backup of a target, as a fleet-wide verification needs it. */
export interface SweepTarget {
  readonly environment: string;
  readonly host: string;
  readonly target: string;
  readonly isOnline: boolean;
  /** The newest backup of all, whatever its state. */
  readonly newest: {
    readonly backupId: string;
    readonly atMs: number;
    readonly state: 'good' | 'suspect' | 'bad' | 'missing';
    /** The highest level that it has passed; null when it was never verified. */
    readonly verifiedLevel: number | null;
  } | null;
}

export type SweepFinding =
  | 'no_backup'
  | 'backup_too_old'
  | 'backup_bad'
  | 'backup_missing'
  | 'backup_suspect'
  | 'host_offline';

/** What a fleet-wide verification does with one target. Any finding makes its exit status 4. */
export interface SweepStep {
  readonly environment: string;
  readonly host: string;
  readonly target: string;
  readonly findings: readonly SweepFinding[];
  readonly ageMs: number | null;
  /** The backup to verify; null when there is nothing to verify, or it has passed the level already. */
  readonly verify: string | null;
}

export interface SweepRequest {
  /** A newest backup older than this is a finding; null does not judge the age. */
  readonly maxAgeMs: number | null;
  readonly level: number;
}

/**
 * Plans `verify --all`: for each target the newest backup and its age. A backup that is too old is a finding and is verified all the same,
 * like every backup that has not passed the level; bytes that are known to be bad or gone are not read again.
 */
export function planSweep(
  targets: readonly SweepTarget[],
  { maxAgeMs, level }: SweepRequest,
  nowMs: number,
): SweepStep[] {
  return targets.map(({ environment, host, target, isOnline, newest }) => {
    const place = { environment, host, target };
    if (newest === null) return { ...place, findings: ['no_backup'], ageMs: null, verify: null };
    const ageMs = Math.max(0, nowMs - newest.atMs);
    const findings: SweepFinding[] = [];
    if (newest.state !== 'good') findings.push(`backup_${newest.state}`);
    if (maxAgeMs !== null && ageMs > maxAgeMs) findings.push('backup_too_old');
    const isReadable = newest.state === 'good' || newest.state === 'suspect';
    const needed = isReadable && (newest.verifiedLevel ?? -1) < level;
    if (needed && !isOnline) findings.push('host_offline');
    return { ...place, findings, ageMs, verify: needed && isOnline ? newest.backupId : null };
  });
}
