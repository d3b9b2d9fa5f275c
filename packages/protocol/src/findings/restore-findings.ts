import type { FindingDefinition } from './finding-definition.ts';

/** Why a restore is refused. */
export const RESTORE_REFUSALS = {
  BOOTSTRAP_ROLE_MISSING: {
    severity: 'error',
    message: '{subject} is missing and owns what only a superuser may own',
    remedy: 'Create it first: create role {identifier} superuser nologin',
    refusal: 'RESTORE_FAILED',
  },
  DATABASE_EXISTS: {
    severity: 'error',
    message: '{subject} already exists',
    remedy: 'Choose another name, or replace the database with `--swap`.',
    refusal: 'TARGET_NOT_EMPTY',
  },
  DATABASE_MISSING: {
    severity: 'error',
    message: '{subject} does not exist',
    remedy: 'Restore it with `--swap` or under a new name (`--to-new`).',
    refusal: 'NOT_FOUND',
  },
  DATABASE_NOT_IN_BACKUP: {
    severity: 'error',
    message: 'the backup does not hold {subject}',
    remedy: 'List the contents of the backup with `lastgood backups show`.',
    refusal: 'NOT_FOUND',
  },
  EXTENSION_NOT_INSTALLED: {
    severity: 'error',
    message: '{subject} is not installed on this server',
    remedy: 'Install the packages of the extension beside the server.',
    refusal: 'RESTORE_FAILED',
  },
  FOLDER_OF_ROOT: {
    severity: 'error',
    message: 'the restore folder {folder:quoted} belongs to root, and the server does not run as root',
    remedy: 'Give the folder to the user that is to run the restored server (chown).',
    refusal: 'RESTORE_FAILED',
  },
  FOLDER_SPACE_LOW: {
    severity: 'error',
    message: 'the restore needs {needed:bytes}, the disk of the folder has {free:bytes}',
    remedy: 'Free space on the disk of the restore folder.',
    refusal: 'NO_SPACE',
  },
  FOLDER_UNUSABLE: {
    severity: 'error',
    message: 'the restore folder {folder:quoted} cannot be used: {reason}',
    remedy: 'Create the folder of `restoreFolders` on the host, with a path that its user can enter.',
    refusal: 'RESTORE_FAILED',
  },
  ICU_MISSING: {
    severity: 'error',
    message: 'the server was built without ICU, which sorts the source',
    remedy: 'Restore into a server that was built with ICU.',
    refusal: 'RESTORE_FAILED',
  },
  NOT_THE_DEFAULT_DATABASE: {
    severity: 'error',
    message: '{subject} would not be mounted: this edition mounts only its default database, {default:quoted}',
    remedy: 'Set `initial.dbms.default_database` of the server to the name of the database, then restart the server.',
    refusal: 'RESTORE_FAILED',
  },
  PREPARED_TRANSACTIONS: {
    severity: 'error',
    message: '{subject} has prepared transactions: {transactions:list}',
    remedy: 'Commit them or roll them back there (COMMIT PREPARED, ROLLBACK PREPARED).',
    refusal: 'TARGET_BUSY',
  },
  PROGRAMS_MISSING: {
    severity: 'error',
    message: 'the programs of version {version} of the server are not installed on this host',
    remedy: 'Install the server package of the same major version, or set `binDir` of the target.',
    refusal: 'TOOL_NOT_FOUND',
  },
  RESTORE_NOT_ALLOWED: {
    severity: 'error',
    message: 'the agent file of the host does not allow to restore {subject} this way ({mode})',
    remedy: 'Add the way to `allow.restore` of the target in the agent file, on the host.',
    refusal: 'HOST_LIMIT',
  },
  ROLES_NOT_CREATABLE: {
    severity: 'error',
    message: 'roles {roles:list} are missing, and the role of the agent, {agent:quoted}, may not create roles',
    remedy: 'Create the roles first, or give the role of the agent CREATEROLE.',
    refusal: 'DATABASE_REFUSED',
  },
  ROLE_ATTRIBUTES_NOT_GRANTABLE: {
    severity: 'error',
    message:
      '{subject} is missing and had {attributes:list}, which the role of the agent, {agent:quoted}, may not give',
    remedy: 'Create the role first, with these attributes.',
    refusal: 'DATABASE_REFUSED',
  },
  ROLE_NOT_IN_BACKUP: {
    severity: 'error',
    message: '{subject} is missing on the server and in the globals of the backup',
    remedy: 'Create the role first.',
    refusal: 'RESTORE_FAILED',
  },
  SERVER_IS_STANDBY: {
    severity: 'error',
    message: 'the server is a standby',
    remedy: 'Restore on its primary.',
    refusal: 'RESTORE_FAILED',
  },
  SERVER_OLDER_THAN_SOURCE: {
    severity: 'error',
    message: 'the server ({server}) is older than the source ({source})',
    remedy: 'Restore into a server of at least the major version of the source.',
    refusal: 'RESTORE_FAILED',
  },
  SERVER_VERSION_UNKNOWN: {
    severity: 'error',
    message: 'the version of the server ({server}) cannot be compared with that of the source ({source})',
    remedy: 'Restore into a server of a released version.',
    refusal: 'TOOL_VERSION',
  },
  STORE_FORMAT_UNSUPPORTED: {
    severity: 'error',
    message: '{subject} has the store format {format}, which this edition of the server cannot read',
    remedy: 'Restore into a server of the edition of the source.',
    refusal: 'RESTORE_FAILED',
  },
  SERVER_SPACE_LOW: {
    severity: 'error',
    message: 'the restore needs {needed:bytes}, the disk of the server has {free:bytes}',
    remedy: 'Free space on the disk of the database server.',
    refusal: 'NO_SPACE',
  },
  SUBSCRIPTIONS_IN_DATABASE: {
    severity: 'error',
    message: '{subject} has subscriptions ({subscriptions:list}), which no transaction can drop',
    remedy:
      'Restore with `--swap` or under a new name, or detach their slots (ALTER SUBSCRIPTION ... DISABLE, then SET (slot_name = none)).',
    refusal: 'TARGET_BUSY',
  },
} as const satisfies Record<string, FindingDefinition>;

/** What a person should know before a restore, or after it. */
export const RESTORE_FINDINGS = {
  CONSTRAINTS_NOT_VALID: {
    severity: 'warning',
    message:
      '{count:count} constraints do not hold for the restored rows and were restored as NOT VALID: {constraints:list}',
    remedy: 'Correct the rows, then ALTER TABLE ... VALIDATE CONSTRAINT. New rows are checked already.',
  },
  CONSTRAINTS_LEFT_OUT: {
    severity: 'warning',
    message:
      '{count:count} constraints do not hold for the restored rows, cannot be NOT VALID and were left out: {constraints:list}',
    remedy: 'Correct the rows, then add the constraints again.',
  },
  ACCOUNTS_KEPT: {
    severity: 'info',
    message: 'users and roles are not restored: those of the server stay',
    remedy: null,
  },
  ACCOUNTS_REPLACED: {
    severity: 'warning',
    message: 'all users, roles and passwords of the server are replaced by those of the backup',
    remedy: 'The agent must be able to log in with the password of its agent file before and after the restore.',
  },
  BOOTSTRAP_ROLE_REDUCED: {
    severity: 'warning',
    message:
      '{subject}, the first superuser of the source, is missing: it is created without login and without its rights, to own what it owned',
    remedy:
      'Functions that run with the rights of their owner (SECURITY DEFINER) have fewer rights. Give it what they need.',
  },
  DATABASE_TABLESPACE_MISSING: {
    severity: 'warning',
    message: '{subject}, where the database was, is missing: it goes to the default tablespace',
    remedy: null,
  },
  LARGE_OBJECTS_KEPT: {
    severity: 'warning',
    message: '{count} large objects that the backup does not hold were left as they are',
    remedy: null,
  },
  LOCALE_MAYBE_MISSING: {
    severity: 'warning',
    message: 'the server may lack {subject} of the source',
    remedy: 'Install the locale on the host of the server if it is missing.',
  },
  OTHER_SERVER: {
    severity: 'warning',
    message: 'the backup was taken from another server (its system identifier differs)',
    remedy: null,
  },
  PARTITIONS_LOST: {
    severity: 'warning',
    message:
      'partitions that the backup does not hold are dropped with their rows, for their tables are replaced: {partitions:list}',
    remedy: null,
  },
  PAUSE_TOO_LONG: {
    severity: 'warning',
    message:
      'the server is expected to be down for {expected:count} s; the agent file allows backups {allowed:count} s',
    remedy: null,
  },
  PLUGIN_MISSING: {
    severity: 'warning',
    message: '{subject} was in the plugins folder of the source and is missing here',
    remedy: 'Install the plugin if the data or the applications need it.',
  },
  PROPERTY_DIFFERS: {
    severity: 'warning',
    message: '{property} of the database is {found}, that of the source {source}',
    remedy: null,
  },
  RECOVERY_ENDS_AT_GAP: {
    severity: 'warning',
    message: 'the restore ends at {position}, because WAL behind a gap is not used',
    remedy: null,
  },
  REPLICATION_SLOTS_LEFT: {
    severity: 'warning',
    message:
      'logical replication slots {slots:list} stay with the old database, where they keep WAL until the disk is full',
    remedy: 'After the swap drop these slots, create them in the new database, and let their readers start again.',
  },
  ROLE_STATEMENT_LEFT_OUT: {
    severity: 'warning',
    message: 'a setting, comment or membership of a role was left out: {reason}',
    remedy: null,
  },
  ROLES_CREATED_WITHOUT_RIGHTS: {
    severity: 'warning',
    message:
      'roles {roles:list} are missing: they are created without login, password and rights of their own, and own the restored data',
    remedy:
      'After the restore give them what they need (ALTER ROLE ... LOGIN PASSWORD ...), or set `allow.roles: full` of the target in the agent file before.',
  },
  ROLES_WILL_BE_CREATED: {
    severity: 'warning',
    message:
      'roles {roles:list} are missing: they are created from the globals of the backup, with their passwords, settings and memberships',
    remedy: null,
  },
  SERVER_NEWER_THAN_SOURCE: {
    severity: 'warning',
    message: 'the backup is of version {source}, the server is newer ({server})',
    remedy: null,
  },
  SERVER_NOT_RUNNING: {
    severity: 'warning',
    message: 'the server is not running, so its version and databases are those of its files; the restore starts it',
    remedy: null,
  },
  SERVER_PATCH_OLDER_THAN_SOURCE: {
    severity: 'warning',
    message: 'the backup is of version {source}, the server is an older patch of the same release ({server})',
    remedy: null,
  },
  SESSIONS_WILL_END: {
    severity: 'warning',
    message: '{subject} has {sessions:count} open sessions, which will be ended',
    remedy: null,
  },
  SETTING_LEFT_OUT: { severity: 'warning', message: '{subject} was left out: {reason}', remedy: null },
  TABLES_KEPT: {
    severity: 'warning',
    message: '{count:count} tables that the backup does not hold were left as they are: {tables:list}',
    remedy: null,
  },
  TABLESPACES_MISSING: {
    severity: 'warning',
    message: 'tablespaces {tablespaces:list} are missing: their tables go to the default one',
    remedy: null,
  },
  UNTRUSTED_CODE: {
    severity: 'warning',
    message:
      'code of {owners:list}, no superusers in the source, may run with the rights of {role:quoted} while the backup is loaded (functions, and checks and computed columns of tables)',
    remedy: 'Restore it only if they are trusted with that, or by a role with fewer rights.',
  },
  VIEW_NOT_REFRESHED: {
    severity: 'warning',
    message: '{subject} could not be filled: {reason}',
    remedy: 'Fill it later with REFRESH MATERIALIZED VIEW.',
  },
  WRITTEN_AFTER_RESTORE: {
    severity: 'warning',
    message: '{subject} was written to before it could be compared with its backup',
    remedy: 'The store was checked before it was swapped in. Compare the data yourself if in doubt.',
  },
} as const satisfies Record<string, FindingDefinition>;
