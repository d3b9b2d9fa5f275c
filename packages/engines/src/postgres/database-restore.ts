import { Failure } from '@lastgood/core';
import { databaseNameSchema, type RestoreRequest } from '@lastgood/protocol';
import { MANAGED_MARK } from './server.ts';

/** A restore of one database of a logical backup. */
export type DatabaseRestore =
  | { readonly way: 'new'; readonly database: string; readonly as: string }
  | { readonly way: 'swap' | 'in-place'; readonly database: string };

/** The name of the database that the restore fills. */
export const restoredName = (mode: DatabaseRestore): string => (mode.way === 'new' ? mode.as : mode.database);

const refuse = (message: string, remedy?: string): never => {
  throw new Failure('BAD_INPUT', message, remedy === undefined ? {} : { remedy });
};

function modeOf({ scope, into }: RestoreRequest): DatabaseRestore {
  if (scope.kind !== 'database')
    return refuse('a logical backup is restored one database at a time', 'Name one database with --database.');
  const { database } = scope;
  switch (into.way) {
    case 'new':
      return { way: 'new', database, as: into.name };
    case 'swap':
    case 'in-place':
      return { way: into.way, database };
    default:
      return refuse(
        'a logical backup is not restored into a folder',
        'Use --to-new, --swap or --in-place, or restore a physical backup.',
      );
  }
}

/** The backup and the database that a request names. Throws BAD_INPUT for a request that logical backups cannot fulfill. */
export function databaseRestoreOf(request: RestoreRequest): {
  backupId: string;
  mode: DatabaseRestore;
  acceptInvalidConstraints: boolean;
} {
  const { point, options } = request;
  const { acceptInvalidConstraints = false, ...others } = options;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) return refuse(`a restore has no option "${unknown}"`);
  if (typeof acceptInvalidConstraints !== 'boolean')
    return refuse('the option acceptInvalidConstraints is true or false');
  if (point.kind !== 'backup')
    return refuse(
      'a logical backup holds one recovery point',
      'Name a backup, or restore a physical backup of this target to a point in time.',
    );
  const mode = modeOf(request);
  if (acceptInvalidConstraints && mode.way === 'in-place')
    return refuse(
      'an in-place restore is one transaction and accepts no invalid constraints',
      'Use --to-new or --swap with --accept-invalid-constraints.',
    );
  // An invalid name of a database to be replaced is not in the backup.
  if (mode.way === 'new' && !databaseNameSchema.safeParse(mode.as).success)
    return refuse('the new name must have 1 to 63 bytes, without NUL');
  if (mode.way === 'new' && mode.as.includes(MANAGED_MARK))
    return refuse(
      `the new name must not contain ${MANAGED_MARK}, the mark of databases that Lastgood drops by itself`,
      'Choose another name.',
    );
  return { backupId: point.backupId, mode, acceptInvalidConstraints };
}
