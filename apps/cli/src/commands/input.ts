import { Failure, parseDuration } from '@lastgood/core';
import { instantSchema } from '@lastgood/protocol';

/** The milliseconds of a duration option. Throws BAD_INPUT for a bare number, which leaves open what it counts, and for zero. */
export function durationMs(option: string, text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined || ms === 0)
    throw new Failure('BAD_INPUT', `${option}: not a duration: "${text}"`, {
      remedy: 'Write a duration with its units, for example 90m, 1h30m, 12h or 30d.',
    });
  return ms;
}

/** The milliseconds of an instant. Throws BAD_INPUT without an offset: it decides something, so its zone must not be guessed. */
export function instantMs(option: string, text: string): number {
  if (!instantSchema.safeParse(text).success)
    throw new Failure('BAD_INPUT', `${option}: not an instant with an offset: "${text}"`, {
      remedy: 'Write date, time and offset, for example 2026-11-23T14:03:20-03:00 or 2026-11-23T17:03:20Z.',
    });
  return Date.parse(text);
}

/** A whole number within bounds. Throws BAD_INPUT with the name of the option. */
export function wholeNumber(option: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least || value > most)
    throw new Failure('BAD_INPUT', `${option} takes a whole number from ${least} to ${most}, not "${text}"`);
  return value;
}
