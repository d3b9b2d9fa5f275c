import type { Schedule } from './schedule.ts';

/** FNV-1a: spreads similar names evenly, and every machine computes the same. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) value = Math.imul(value ^ byte, 0x01000193);
  // FNV leaves the high bits of short texts alike; this finalizer (of MurmurHash3) mixes them.
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}

/** How long the runs of a schedule are delayed, in ms: whole seconds below the span, the same for ever. */
export function spreadOffsetMs({ spreadMs, spreadKey }: Pick<Schedule, 'spreadMs' | 'spreadKey'>): number {
  const seconds = Math.floor(spreadMs / 1000);
  return seconds <= 0 ? 0 : (hash(spreadKey) % seconds) * 1000;
}
