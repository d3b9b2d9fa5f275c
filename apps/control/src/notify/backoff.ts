const FIRST_MS = 30_000;
const LONGEST_MS = 3_600_000;
/** A message that could not be delivered for this long is given up. Later messages report what still fires. */
const GIVE_UP_MS = 3 * 86_400_000;

/**
 * When to try again after a failed try, the first being number 1; null to give up. Doubles from 30 seconds to an hour, and is spread over
 * its second half by `random` (0 to 1), so that many messages do not return at once. The receiver's own wish counts when it is later.
 */
export function nextTryMs(
  tries: number,
  createdMs: number,
  nowMs: number,
  retryAfterMs: number | null,
  random: number,
): number | null {
  if (nowMs - createdMs >= GIVE_UP_MS) return null;
  const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(tries - 1, 20));
  return nowMs + Math.max(longest / 2 + (random * longest) / 2, retryAfterMs ?? 0);
}
