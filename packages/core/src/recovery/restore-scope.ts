import type { BackupContent, RestoreScope } from '@lastgood/protocol';
import { Failure } from '../failure.ts';

/**
 * The scope of a restore: the database that was named, the only one of the backup, or the whole server. Throws BAD_INPUT when a
 * database has to be named, NOT_FOUND when the backup does not hold the named one.
 */
export function restoreScopeOf(
  contents: readonly BackupContent[],
  named: { readonly database?: string | undefined; readonly wholeServer?: boolean },
): RestoreScope {
  const databases = contents.filter(({ kind }) => kind === 'database').map(({ name }) => name);
  const [only] = databases;
  if (named.database === undefined && (named.wholeServer === true || only === undefined)) return { kind: 'server' };
  const database = named.database ?? (databases.length === 1 ? only : undefined);
  if (database === undefined)
    throw new Failure('BAD_INPUT', `the backup holds ${databases.length} databases`, {
      remedy: `Name one with --database: ${databases.join(', ')}.`,
    });
  if (!databases.includes(database))
    throw new Failure('NOT_FOUND', `the backup does not hold database "${database}"`, {
      remedy: databases.length === 0 ? 'It is restored as a whole.' : `It holds: ${databases.join(', ')}.`,
    });
  return { kind: 'database', database };
}
