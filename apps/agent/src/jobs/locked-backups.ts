import type { Repository } from '@lastgood/core';
import type { TargetRef } from '@lastgood/protocol';

/** How many removed backups the store keeps until their locks end, and when the first of these ends; null when there are none. */
export async function lockedIn(
  repository: Repository,
  ref: TargetRef,
  now: number,
  graceMs: number,
): Promise<{ count: number; until: string } | null> {
  const [first, ...others] = await repository.locked(ref, now, graceMs);
  return first === undefined ? null : { count: 1 + others.length, until: new Date(first.until).toISOString() };
}
