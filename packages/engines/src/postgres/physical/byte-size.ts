import { Failure } from '@lastgood/core';

const FACTORS: Readonly<Record<string, number>> = { B: 1, kB: 2 ** 10, MB: 2 ** 20, GB: 2 ** 30, TB: 2 ** 40 };

/** Reads a size as SHOW prints it, such as `16MB`. Throws DATABASE_ERROR. */
export function parseByteSize(text: string): number {
  const [, digits, unit] = /^(-?\d+)(B|kB|MB|GB|TB)$/.exec(text) ?? [];
  const factor = unit === undefined ? undefined : FACTORS[unit];
  if (digits === undefined || factor === undefined)
    throw new Failure('DATABASE_ERROR', `the server reports a size that cannot be read: ${JSON.stringify(text)}`);
  return Number(digits) * factor;
}
