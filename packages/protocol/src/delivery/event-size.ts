import type { WireError } from '../errors.ts';
import type { JobEvent } from '../jobs/event.ts';
import { LIMITS } from '../limits.ts';

type Json = JobEvent['result'];

/** Bytes of a value as JSON in UTF-8. */
export const sizeOf = (value: unknown): number => new TextEncoder().encode(JSON.stringify(value)).length;

/** A text of at most so many bytes as JSON; one that is cut ends with "…". */
export function boundedText(text: string, maxBytes: number): string {
  // One unit of a text is at most six bytes of JSON.
  if (text.length * 6 + 2 <= maxBytes || sizeOf(text) <= maxBytes) return text;
  let most = text.length;
  let least = 0;
  while (least < most) {
    const middle = Math.ceil((least + most) / 2);
    if (sizeOf(`${text.slice(0, middle)}…`) <= maxBytes) least = middle;
    else most = middle - 1;
  }
  // Half of a character is none.
  return `${text.slice(0, least).replace(/[\ud800-\udbff]$/, '')}…`;
}

function withShortTexts(value: Json, maxBytes: number): Json {
  if (typeof value === 'string') return boundedText(value, maxBytes);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => withShortTexts(item, maxBytes));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withShortTexts(item, maxBytes)]));
}

function listsIn(value: Json): Json[][] {
  if (typeof value !== 'object' || value === null) return [];
  const inside = Object.values(value).flatMap(listsIn);
  return Array.isArray(value) && value.length > 1 ? [value, ...inside] : inside;
}

/** Takes from the end of the largest list, again and again. A list that held something never looks empty. */
function withShortLists(value: Json, maxBytes: number): Json {
  const truncated: Json = JSON.parse(JSON.stringify(value));
  for (;;) {
    let excess = sizeOf(truncated) - maxBytes;
    const [largest] = listsIn(truncated).toSorted((a, b) => sizeOf(b) - sizeOf(a));
    if (excess <= 0 || largest === undefined) return truncated;
    while (excess > 0 && largest.length > 1) excess -= sizeOf(largest.pop()) + 1;
  }
}

/** From here on down texts are shortened until the rest fits: ids, hashes and names are shorter than the last of these. */
const TEXT_BYTES = [1_024, 256, 100];

/**
 * A result, or a part of one, of at most so many bytes. What is too large loses the ends of its lists and of its long texts and
 * says `truncated: true`; numbers, verdicts, ids and names (what happened, to which backup, where the old data is) always stay.
 */
export function boundedValue(value: Json, maxBytes: number): Json {
  if (sizeOf(value) <= maxBytes) return value;
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  const marked: Json = isObject ? { ...value, truncated: true } : value;
  for (const textBytes of TEXT_BYTES) {
    const truncated = withShortLists(withShortTexts(marked, textBytes), maxBytes);
    if (sizeOf(truncated) <= maxBytes) return truncated;
  }
  return null;
}

export function boundedError(error: WireError | null, maxBytes: number): WireError | null {
  if (error === null || sizeOf(error) <= maxBytes) return error;
  const room = maxBytes - sizeOf({ ...error, message: '' });
  return { ...error, message: boundedText(error.message, Math.max(100, room)) };
}

/** The decisions of a rotation and the contents of a backup are the point of these jobs: their events may be larger. */
const limitOf = (result: Json): number =>
  typeof result === 'object' &&
  result !== null &&
  !Array.isArray(result) &&
  (result['command'] === 'rotate' || result['command'] === 'backup')
    ? LIMITS.largeEventBytes
    : LIMITS.eventBytes;

/** An event within its limit; the same object when it was. */
export function boundedEvent(event: JobEvent): JobEvent {
  const limit = limitOf(event.result);
  if (sizeOf(event) <= limit) return event;
  const error = boundedError(event.error, LIMITS.eventBytes - 2_048);
  const bare = { ...event, error, result: null };
  return { ...bare, result: boundedValue(event.result, limit - sizeOf(bare)) };
}
