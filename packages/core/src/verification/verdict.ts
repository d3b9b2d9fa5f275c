import type { BackupSummary } from '@lastgood/protocol';

/** From this level on a backup was loaded into a server: it is proven, and an odd size is no longer held against it. */
export const RESTORE_TEST_LEVEL = 4;
/** How many earlier backups a size is compared with. */
const NEIGHBOURS = 7;
/** A smaller change is a few more or fewer objects in a database that is next to empty, not lost data. */
const NOISE_BYTES = 16_384;
/** So many backups in a row that are larger than those before them are growth, not an accident. */
const GROWN = 3;

export type Verdict = NonNullable<BackupSummary['verified']>;

/**
 * The verdict that stands after another check. A shallow look takes back neither what a deep one has proven nor what it has found:
 * a failure at level n + 1 (`level` is what was reached, n) is taken back only by a check that reaches further than n.
 */
export function standingVerdict(before: Verdict | null, found: Verdict): Verdict {
  if (before === null) return found;
  if (found.passed)
    return before.level > found.level || (!before.passed && before.level === found.level) ? before : found;
  return before.passed ? found : { ...found, level: Math.max(before.level, found.level) };
}

/** What is known of one backup. */
export interface Judged {
  /** `bad`: a verification failed, or what it depends on is gone. `unknown`: a newer version wrote it, this one cannot judge it. */
  readonly state: 'good' | 'bad' | 'unknown';
  /** The level of the last verification, when it passed. */
  readonly verifiedLevel: number | null;
}
/** One backup as its size is judged. */
export interface Sized extends Judged {
  readonly producedBytes: number;
}

function medianOf(bytes: readonly number[]): number | undefined {
  const sorted = bytes.slice(-NEIGHBOURS).sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
const isOdd = (bytes: number, median: number): boolean =>
  Math.abs(bytes - median) >= NOISE_BYTES && (bytes < median / 2 || bytes > median * 2);

/**
 * For each backup of a group, oldest first, whether its size is suspect: smaller than half, or larger than twice, the median of the
 * (up to seven) trusted ones before it (founding rule: size varies by more than 50 %), by 16 KiB at least. A suspect or bad one is
 * no measure for others, so a series of emptied backups never becomes normal; being proven makes any size normal, and so do three
 * in a row that are larger.
 */
export function suspectSizes(group: readonly Sized[]): boolean[] {
  let trusted: number[] = [];
  let larger = 0;
  return group.map(({ producedBytes, state, verifiedLevel }) => {
    if (state !== 'good') return false;
    const median = medianOf(trusted);
    const odd = median !== undefined && median > 0 && isOdd(producedBytes, median);
    larger = odd && producedBytes > median ? larger + 1 : 0;
    const accepted = !odd || larger >= GROWN || (verifiedLevel ?? 0) >= RESTORE_TEST_LEVEL;
    if (accepted) {
      trusted = odd ? [producedBytes] : [...trusted.slice(1 - NEIGHBOURS), producedBytes];
      larger = 0;
    }
    return !accepted;
  });
}
