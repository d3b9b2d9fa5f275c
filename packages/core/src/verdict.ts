/** From this level on a backup was loaded into a server: it is proven, and an odd size is no longer held against it. */
export const PROVEN_LEVEL = 4;
/** How many earlier backups a size is compared with. */
const NEIGHBOURS = 7;
/** A smaller change is a few more or fewer objects in a database that is next to empty, not lost data. */
const NOISE_BYTES = 16_384;

/**
 * True when a backup is smaller than half, or larger than twice, the median of the (up to seven) good backups before it: too odd
 * to push older ones out (founding rule: size varies by more than 50 %), by 16 KiB at least.
 */
export function isSizeSuspect(bytes: number, earlierBytes: readonly number[]): boolean {
  const sorted = earlierBytes.slice(-NEIGHBOURS).sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)];
  if (median === undefined || median === 0 || Math.abs(bytes - median) < NOISE_BYTES) return false;
  return bytes < median / 2 || bytes > median * 2;
}
