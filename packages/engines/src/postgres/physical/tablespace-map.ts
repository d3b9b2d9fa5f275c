import { Failure } from '@lastgood/core';

/**
 * The file by which PostgreSQL recreates the links of tablespaces at the start of a recovery. In a restored copy it must not stay: on
 * the original host it would link the live tablespaces into the copy.
 */
export const TABLESPACE_MAP = 'tablespace_map';

export interface MappedTablespace {
  readonly oid: string;
  readonly location: string;
}

/** Reads `tablespace_map`: a line per tablespace, line ends and backslashes of the path escaped by a backslash. Throws BACKUP_CORRUPT. */
export function parseTablespaceMap(text: string): readonly MappedTablespace[] {
  const lines = text.match(/(?:\\[\s\S]|[^\\\n\r])+/g) ?? [];
  return lines.map((line) => {
    const [, oid, location] = /^(\d+) ([\s\S]+)$/.exec(line) ?? [];
    if (oid === undefined || location === undefined)
      throw new Failure('BACKUP_CORRUPT', 'the tablespace_map of the backup cannot be read');
    return { oid, location: location.replace(/\\([\s\S])/g, '$1') };
  });
}
