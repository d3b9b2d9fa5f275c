const FIRST_MS = 2_000;
const MOST_MS = 60_000;
/** After a refusal only a person can mend things; asking more often would only fill logs. */
const REFUSED_MS = { least: 5 * 60_000, most: 15 * 60_000 } as const;
/** No server can keep an agent away for longer. */
const MAX_WAIT_MS = 15 * 60_000;

/**
 * How long to wait before the next try, with full jitter so that a fleet does not come back as one herd (K6). `tries` counts
 * failed tries since the last session that was stable; the first try after a session is spread as the control plane asked.
 */
export function backoffMs(tries: number, spreadMs: number, refused: boolean, random: () => number): number {
  if (refused) return REFUSED_MS.least + random() * (REFUSED_MS.most - REFUSED_MS.least);
  if (tries === 0) return random() * Math.min(spreadMs, MAX_WAIT_MS);
  return random() * Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(tries - 1, 10));
}
