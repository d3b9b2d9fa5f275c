import type { FindingDefinition } from './finding-definition.ts';

/** What a backup does not hold, or how it was taken. */
export const BACKUP_FINDINGS = {
  ARCHIVE_FORMAT_UNKNOWN: {
    severity: 'warning',
    message: 'the archive of {subject} has format {format}, which is not known here',
    remedy: 'Verify the backup to level 2 or above: only that shows whether the archive is whole.',
  },
  CIRCULAR_FOREIGN_KEYS: {
    severity: 'info',
    message: '{subject} of database {database:quoted} has circular foreign keys',
    remedy: 'Restore whole databases. To load the data of this table alone, its triggers must be disabled.',
  },
  CLIENT_TOOLS_OLDER: {
    severity: 'warning',
    message: 'the client tools {client} are older than the server {server}, and may dump what it does not restore',
    remedy: 'Upgrade the client tools of the host to the version of the server.',
  },
  CLIENT_TOOLS_OTHER_MAJOR: {
    severity: 'warning',
    message: 'the client tools {client} are of another major version than the server {server}',
    remedy: 'Install the client tools of the major version of the server, or name their folder in connection.binDir.',
  },
  CLIENT_TOOLS_OUTDATED: {
    severity: 'warning',
    message: 'the client tools {version} lack security fixes of {current}',
    remedy: 'Upgrade the client tools of the host.',
  },
  COLLATION_VERSION_MISMATCH: {
    severity: 'warning',
    message: '{subject} was created with another version of its collation',
    remedy:
      'Rebuild the indexes of the database that use the collation, then ALTER DATABASE ... REFRESH COLLATION VERSION.',
  },
  DATABASE_NOT_CONNECTABLE: {
    severity: 'warning',
    message: '{subject} accepts no connections, so it is not in this backup',
    remedy: 'Let it accept connections (ALTER DATABASE ... ALLOW_CONNECTIONS true) if it is to be backed up.',
  },
  DATABASE_OFFLINE: {
    severity: 'warning',
    message: '{subject} is {status}, so it is not in this backup',
    remedy: 'Read the log of the server and bring the database online if it is to be backed up.',
  },
  GRAPH_NOT_COUNTED: {
    severity: 'warning',
    message: '{subject} was written to while it was backed up, so its contents were not counted',
    remedy:
      'The backup can be verified to level 4. For level 5 and 6 use a way that takes a copy, or back up while nothing is written.',
  },
  MANIFEST_CHANGED: {
    severity: 'error',
    message: 'the manifest was changed after the backup was taken',
    remedy: 'Find out who can write to the repository. Do not rely on this backup unless its own manifest is back.',
  },
  SOURCE_PAGES_DAMAGED: {
    severity: 'error',
    message: '{pages:count} pages of the server have wrong checksums; the first is block {block:count} of {path}',
    remedy: 'The damage is in the server itself. Keep the older backups, and check the disk of the server.',
  },
  READ_BACK_FROM_MEMORY: {
    severity: 'warning',
    message: 'the bytes may have been read back from memory instead of from the disk: {reason}',
    remedy: 'Verify the backup to level 1 later, when its bytes have left the memory of the host.',
  },
  ROLE_PASSWORDS_LEFT_OUT: {
    severity: 'warning',
    message: 'the roles are stored without passwords, for the role of the agent may not read them',
    remedy: 'Back up with a superuser if roles should be restored with their passwords.',
  },
  STANDBY_UNLOGGED_TABLES: {
    severity: 'warning',
    message: 'the server is a standby: unlogged tables are restored empty',
    remedy: 'Back up the primary if the contents of unlogged tables are needed.',
  },
  SUBSCRIPTIONS_LEFT_OUT: {
    severity: 'warning',
    message: 'the subscriptions of {subject} are not in this backup, for only a superuser may read them',
    remedy: 'Back up with a superuser if subscriptions should be restored.',
  },
  TOOL_OUTPUT_LEFT_OUT: {
    severity: 'info',
    message: '{tool} printed {lines:count} other lines, which are not shown here',
    remedy: 'The log of the server has its own messages; these may contain data.',
  },
  VERDICT_UNREADABLE: {
    severity: 'warning',
    message: 'the last verdict on the backup cannot be read: {reason}',
    remedy: 'Verify the backup again.',
  },
  USER_MAPPING_OPTIONS_LEFT_OUT: {
    severity: 'warning',
    message:
      'the backup of {subject} lacks the options of {count:count} user mappings, which the role of the agent may not read: {mappings:list}',
    remedy: 'Back up with a superuser if foreign servers should come back with their passwords.',
  },
} as const satisfies Record<string, FindingDefinition>;
