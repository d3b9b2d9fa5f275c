/**
 * Keys disappear between a backup and the check of its copy. So counts and digests are kept apart by the time at which keys expire,
 * counted from the snapshot: a slot is compared only while none of its keys can have expired.
 */
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** Where the slots behind the first one begin, from the snapshot on. */
const STARTS: readonly number[] = [
  MINUTE,
  5 * MINUTE,
  15 * MINUTE,
  HOUR,
  4 * HOUR,
  12 * HOUR,
  DAY,
  2 * DAY,
  4 * DAY,
  7 * DAY,
  14 * DAY,
  30 * DAY,
  60 * DAY,
  120 * DAY,
  365 * DAY,
];

/** The slot of keys that do not expire. The others count from 0. */
export const LASTING = -1;
export const SLOT_COUNT = STARTS.length + 1;

/** The slot of a key; times in milliseconds since the epoch, null for a key that does not expire. */
export function slotOf(snapshotAt: number, expiresAt: number | null): number {
  if (expiresAt === null) return LASTING;
  const after = expiresAt - snapshotAt;
  let slot = 0;
  while (slot < STARTS.length && after >= (STARTS[slot] ?? 0)) slot += 1;
  return slot;
}

/** True when no key of the slot has expired at `now`. */
export function isIntact(snapshotAt: number, slot: number, now: number): boolean {
  if (slot === LASTING) return true;
  const start = STARTS[slot - 1];
  return start !== undefined && snapshotAt + start > now;
}
