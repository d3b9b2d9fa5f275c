import { Failure } from '@lastgood/core';

/** A position in the write-ahead log, in bytes from its beginning. */
export type Lsn = bigint;

const PATTERN = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/;

export const isLsn = (text: string): boolean => PATTERN.test(text);

/** Reads PostgreSQL's form, such as `0/3000028`. Throws BAD_INPUT. */
export function parseLsn(text: string): Lsn {
  const [, high, low] = PATTERN.exec(text) ?? [];
  if (high === undefined || low === undefined)
    throw new Failure('BAD_INPUT', `not a WAL position: ${JSON.stringify(text)}`);
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
}

/** Writes PostgreSQL's form. */
export const formatLsn = (lsn: Lsn): string =>
  `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`;

export const minLsn = (a: Lsn, b: Lsn): Lsn => (a < b ? a : b);
export const maxLsn = (a: Lsn, b: Lsn): Lsn => (a > b ? a : b);
