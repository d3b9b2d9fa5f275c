import type { FindingDefinition } from './finding-definition.ts';

/** What a verification or a backup found in the snapshot of a server. */
export const SNAPSHOT_FINDINGS = {
  AOF_BASE_DAMAGED: {
    severity: 'error',
    message: 'the base of the append-only files is damaged: {reason}',
    remedy: null,
  },
  AOF_COMMANDS_DAMAGED: {
    severity: 'error',
    message: 'the commands of an append-only file are damaged from byte {offset} on',
    remedy: null,
  },
  AOF_COMMANDS_TRUNCATED: {
    severity: 'error',
    message: 'an append-only file ends within a command, after byte {offset}',
    remedy: null,
  },
  AOF_NOT_SELF_CHECKING: {
    severity: 'info',
    message: 'commands of append-only files have no checksum: damage from before the copy is not noticed',
    remedy: 'Back up by the method rdb as well.',
  },
  CHECK_TOOL_REFUSED: {
    severity: 'error',
    message: 'the check tool of version {version} finds the file damaged',
    remedy: null,
  },
  DIGEST_DIFFERS: {
    severity: 'error',
    message: 'keys of type {type} in database {database} (expiry slot {slot}) have other values than the source',
    remedy: null,
  },
  FINGERPRINT_DIFFERS: {
    severity: 'error',
    message: 'the fingerprint of the backup does not fit its data',
    remedy: null,
  },
  FUNCTION_COUNT_DIFFERS: {
    severity: 'error',
    message: 'there are {found} function libraries, the source had {expected}',
    remedy: null,
  },
  KEYS_LOADED_DIFFER: {
    severity: 'error',
    message: 'the server has loaded {found:count} keys, the backup holds {expected:count}',
    remedy: null,
  },
  KEY_COUNT_DIFFERS: {
    severity: 'error',
    message:
      'there are {found} keys of type {type} in database {database} (expiry slot {slot}), the source had {expected}',
    remedy: null,
  },
  RDB_CHECKSUM_DIFFERS: {
    severity: 'error',
    message: 'the file is damaged: its checksum does not match (byte {offset})',
    remedy: null,
  },
  RDB_COUNT_DIFFERS: {
    severity: 'warning',
    message: 'the file announces {announced} keys in database {database} and holds {keys}',
    remedy: null,
  },
  RDB_INCOMPLETE: { severity: 'error', message: 'the file ends too early, after {bytes} bytes', remedy: null },
  RDB_NOT_COUNTED: {
    severity: 'warning',
    message: 'the keys of the file could not be counted beyond byte {offset}, where something unknown begins',
    remedy: 'Verify the backup to level 4: a server of the version that wrote it loads it.',
  },
  RDB_NOT_RDB: { severity: 'error', message: 'the file is not an RDB file', remedy: null },
  RDB_NOT_SELF_CHECKING: {
    severity: 'warning',
    message: 'the server writes its snapshots without a checksum (rdbchecksum no)',
    remedy: 'Set rdbchecksum to yes: without it, damage before the copy is not noticed.',
  },
  RDB_TRAILING_BYTES: {
    severity: 'error',
    message: 'there are {bytes} bytes behind the end of the file',
    remedy: null,
  },
  CONFIG_FILE_LEFT_OUT: {
    severity: 'warning',
    message: 'the configuration file {path} is not in this backup: {reason}',
    remedy: 'Let the agent read the file, or keep a copy of it elsewhere.',
  },
  SECRETS_LEFT_OUT: {
    severity: 'info',
    message: 'passwords and other secrets were left out of {files:list}: lines {lines:list}',
    remedy: 'Keep these secrets elsewhere: a new server needs them.',
  },
} as const satisfies Record<string, FindingDefinition>;
