import { crc32 } from 'node:zlib';
import { Failure } from '@lastgood/core';

export const CHECK_DISK = 'Check the disk of `dataDir` of the agent, and who can write there.';

/** SQLite detects a torn page, but not a changed byte inside one: each record carries its own checksum (J5). */
export const seal = (key: string, text: string): string =>
  `${crc32(`${key} ${text}`).toString(16).padStart(8, '0')} ${text}`;

/** The text of a sealed record; IO_ERROR when it was changed. */
export function unseal(key: string, sealed: string): string {
  const text = sealed.slice(9);
  if (seal(key, text) !== sealed)
    throw new Failure('IO_ERROR', 'a record of the journal was changed', { remedy: CHECK_DISK });
  return text;
}
