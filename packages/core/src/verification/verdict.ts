import type { BackupSummary } from '@lastgood/protocol';
import { medianOf } from '../median.ts';

/** From this level on, a verification loads the backup into a server: it is restore-tested, and its size is no longer suspect. */
export const RESTORE_TEST_LEVEL = 4;
/** How many earlier backups a size is compared with. */
const COMPARED_BACKUPS = 7;
/** A smaller change is normal in an almost empty database and does not indicate lost data. */
export const NOISE_BYTES = 16_384;
/** This many larger backups in a row count as growth. */
const GROWTH_BACKUPS = 3;

export type Verdict = NonNullable<BackupSummary['verified']>;

/**
 * Combines the current verdict with that of a new verification. A check at a lower level overrides neither a pass nor a failure at a
 * higher one. `level` is the level reached: a failure at level n + 1 has level n, and only a check that reaches more than n clears it.
 */
export function standingVerdict(before: Verdict | null, found: Verdict): Verdict {
  if (before === null) return found;
  if (found.passed)
    return before.level > found.level || (!before.passed && before.level === found.level) ? before : found;
  return before.passed ? found : { ...found, level: Math.max(before.level, found.level) };
}

/** The state of one backup for retention and size checks. */
export interface Judged {
  /** `bad`: a verification failed or a dependency is missing. `unknown`: written by a newer version. */
  readonly state: 'good' | 'bad' | 'unknown';
  /** The level of the last verification, when it passed. */
  readonly verifiedLevel: number | null;
}
/** One backup for the size check. */
export interface Sized extends Judged {
  readonly producedBytes: number;
}

const isUnusual = (bytes: number, median: number): boolean =>
  Math.abs(bytes - median) >= NOISE_BYTES && (bytes < median / 2 || bytes > median * 2);

/**
 * Returns, for each backup of a group (oldest first), whether its size is suspect: less than half or more than twice the median of up to
 * seven trusted backups before it, with a difference of at least 16 KiB. Suspect and bad backups do not count toward the median, so a
 * series of emptied backups never becomes normal. A restore test makes any size normal, and so do three larger backups in a row.
 */
export const suspectSizes = (group: readonly Sized[]): boolean[] => judgeSizes(group).map(({ isSuspect }) => isSuspect);

interface SizeJudgment {
  readonly isSuspect: boolean;
  /** The first backup of a new size: it is unusual, and a restore test or its successors have made it normal. */
  readonly isChange: boolean;
}

/** Whether the size of each backup of a group (oldest first) is suspect, and where sizes have changed. */
export function judgeSizes(group: readonly Sized[]): SizeJudgment[] {
  let trusted: number[] = [];
  let larger = 0;
  return group.map(({ producedBytes, state, verifiedLevel }) => {
    if (state !== 'good') return { isSuspect: false, isChange: false };
    const median = medianOf(trusted.slice(-COMPARED_BACKUPS));
    const unusual = median !== undefined && median > 0 && isUnusual(producedBytes, median);
    larger = unusual && producedBytes > median ? larger + 1 : 0;
    const accepted = !unusual || larger >= GROWTH_BACKUPS || (verifiedLevel ?? 0) >= RESTORE_TEST_LEVEL;
    if (accepted) {
      trusted = unusual ? [producedBytes] : [...trusted.slice(1 - COMPARED_BACKUPS), producedBytes];
      larger = 0;
    }
    return { isSuspect: !accepted, isChange: unusual && accepted };
  });
}
