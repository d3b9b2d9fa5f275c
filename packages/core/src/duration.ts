import { z } from 'zod';

const SECOND_MS = 1000;
const UNITS = [
  ['w', 7 * 86_400 * SECOND_MS],
  ['d', 86_400 * SECOND_MS],
  ['h', 3600 * SECOND_MS],
  ['m', 60 * SECOND_MS],
  ['s', SECOND_MS],
] as const;
/** Weeks, days, hours, minutes and seconds in this order, at least one of them. */
const PATTERN = /^(?=\d)(?:\d{1,10}w)?(?:\d{1,10}d)?(?:\d{1,10}h)?(?:\d{1,10}m)?(?:\d{1,10}s)?$/;
const MAX_MS = 100 * 366 * 86_400 * SECOND_MS;

/** The milliseconds of a duration like `90s`, `1h30m` or `7d`; undefined for other text, and above 100 years. */
export function parseDuration(text: string): number | undefined {
  if (!PATTERN.test(text)) return undefined;
  const unitMs = new Map<string, number>(UNITS);
  const total = [...text.matchAll(/(\d+)([wdhms])/g)]
    .map(([, count, unit]) => Number(count) * (unitMs.get(unit ?? '') ?? 0))
    .reduce((sum, part) => sum + part, 0);
  return total <= MAX_MS ? total : undefined;
}

/** The shortest text of whole seconds, without weeks: `7d`, `1h30m`, `0s`. */
export function formatDuration(ms: number): string {
  let rest = Math.floor(ms / SECOND_MS) * SECOND_MS;
  const parts = UNITS.slice(1).map(([unit, size]) => {
    const count = Math.floor(rest / size);
    rest -= count * size;
    return count === 0 ? '' : `${count}${unit}`;
  });
  return parts.join('') || '0s';
}

/** A duration of a file or a command line: text like `1h30m` there, milliseconds in the program. */
export const durationSchema = z.codec(
  z
    .string()
    .regex(PATTERN, 'use a duration like 30m, 1h30m or 7d')
    .refine((text) => !PATTERN.test(text) || parseDuration(text) !== undefined, 'at most 100 years'),
  z.number().min(0).max(MAX_MS),
  { decode: (text) => parseDuration(text) ?? Number.NaN, encode: formatDuration },
);
