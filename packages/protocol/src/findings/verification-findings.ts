import type { FindingDefinition } from './finding-definition.ts';

/** What a verification found in the stored objects of a backup. */
export const STORED_FINDINGS = {
  MANIFEST_UNREADABLE: { severity: 'error', message: 'the manifest cannot be read: {reason}', remedy: null },
  MANIFEST_NOT_SIGNED: {
    severity: 'error',
    message: 'the manifest is not signed: somebody who can write into the repository may have made it',
    remedy: 'Find out who can write into the repository. Verify another backup of the target.',
  },
  MANIFEST_KEY_UNKNOWN: {
    severity: 'error',
    message: 'the manifest is signed by {key}, which this host does not trust',
    remedy: 'If a host of yours made it, compare the key with `lastgood agent key` there and add it to `trust`.',
  },
  MANIFEST_REPLACED: {
    severity: 'error',
    message: 'the manifest is not the one that the catalog knows: its hash is {found}, not {known}',
    remedy: 'Somebody has written into the repository. Verify another backup of the target.',
  },
  OBJECT_MISSING: { severity: 'error', message: 'the object is missing', remedy: null },
  OBJECT_UNREADABLE: { severity: 'error', message: 'the object cannot be read: {reason}', remedy: null },
  OBJECT_SIZE_DIFFERS: {
    severity: 'error',
    message: 'the object has {found:count} bytes, its manifest says {expected:count}',
    remedy: null,
  },
  OBJECT_BYTES_DIFFER: { severity: 'error', message: 'the stored bytes differ from the manifest', remedy: null },
  OBJECT_DAMAGED_NEAR_BLOCK: {
    severity: 'error',
    message:
      'the stored bytes differ from the manifest; the first damage is in or before block {block:count} (of 1 MiB)',
    remedy: null,
  },
  DUMP_LISTS_FEWER_TABLES: {
    severity: 'error',
    message: 'the dump lists {listed:count} tables with rows, its fingerprint {expected:count}',
    remedy: null,
  },
  DUMP_DAMAGED: { severity: 'error', message: 'the dump of {subject} is damaged ({fault})', remedy: null },
  STORE_INCONSISTENT: {
    severity: 'error',
    message: 'the store of {subject} is not consistent ({reason})',
    remedy: 'The source was probably damaged when it was backed up: check it, and verify older backups.',
  },
  STORE_NOT_AS_RECORDED: {
    severity: 'error',
    message: 'the store of {subject} is not the one that was backed up ({reason})',
    remedy: null,
  },
  DATABASE_NOT_IN_COPY: { severity: 'error', message: '{subject} is not in the started copy', remedy: null },
  FILE_DIFFERS: {
    severity: 'error',
    message: 'the file {path} of the data folder differs from the manifest of the server ({difference})',
    remedy: null,
  },
  PAGES_DAMAGED: {
    severity: 'error',
    message: '{pages:count} pages have wrong checksums; the first is block {block:count} of {path}',
    remedy: 'Restore the relation from an older backup, and check the disk of the server.',
  },
  TABLE_UNREADABLE: {
    severity: 'error',
    message: '{subject} of database {database:quoted} cannot be read in the started copy: {reason}',
    remedy: null,
  },
  WAL_SEGMENT_INVALID: {
    severity: 'error',
    message: 'the WAL segment {segment} of the backup is not what it should be: {reason}',
    remedy: null,
  },
  WAL_SEGMENT_MISSING: {
    severity: 'error',
    message: 'the WAL segment {segment}, which the backup needs, is not in the repository',
    remedy: null,
  },
  GLOBALS_WITHOUT_ROLES: { severity: 'error', message: 'the globals contain no CREATE ROLE', remedy: null },
} as const satisfies Record<string, FindingDefinition>;

/** How a restored database differs from its source. */
export const DIFFERENCE_FINDINGS = {
  DUMP_REFUSED: {
    severity: 'error',
    message: 'the dump cannot be loaded: {reason}',
    remedy:
      'A scratch server keeps no log. Restore the backup beside the source (`--to-new`): the log of that server has the whole message.',
  },
  DATABASE_NOT_MOUNTED: { severity: 'error', message: 'a scratch server could not mount {subject}', remedy: null },
  GRAPH_DIFFERS: {
    severity: 'error',
    message: '{subject} differs from its source: {difference}',
    remedy: null,
  },
  FINGERPRINT_WITHOUT_DIGESTS: {
    severity: 'error',
    message: 'the fingerprint of {subject} has no digests, though its manifest says so',
    remedy: null,
  },
  TABLE_MISSING: { severity: 'error', message: '{subject} of database {database:quoted} is missing', remedy: null },
  TABLE_NOT_IN_SOURCE: {
    severity: 'error',
    message: '{subject} of database {database:quoted} was not in the source',
    remedy: null,
  },
  TABLE_ROWS_DIFFER: {
    severity: 'error',
    message: '{subject} of database {database:quoted} has {rows} rows, the source had {expected}',
    remedy: null,
  },
  TABLE_CONTENTS_DIFFER: {
    severity: 'error',
    message: '{subject} of database {database:quoted} has other contents than the source',
    remedy: null,
  },
  SEQUENCE_MISSING: { severity: 'error', message: '{subject} of database {database:quoted} is missing', remedy: null },
  SEQUENCE_POSITION_DIFFERS: {
    severity: 'error',
    message: '{subject} of database {database:quoted} is at {value}, the source was between {least} and {most}',
    remedy: null,
  },
  SEQUENCE_REPEATS_VALUE: {
    severity: 'error',
    message: '{subject} of database {database:quoted} would return its value twice',
    remedy: null,
  },
  SEQUENCE_SKIPS_VALUE: {
    severity: 'error',
    message: '{subject} of database {database:quoted} would never return its value',
    remedy: null,
  },
  LARGE_OBJECTS_COUNT_DIFFERS: {
    severity: 'error',
    message: 'database {database:quoted} has {count} large objects, the source had {expected}',
    remedy: null,
  },
  LARGE_OBJECTS_CONTENTS_DIFFER: {
    severity: 'error',
    message: 'large objects of database {database:quoted} have other contents than the source',
    remedy: null,
  },
  EXTENSION_NOT_RESTORED: {
    severity: 'error',
    message: '{subject} of database {database:quoted} is missing',
    remedy: null,
  },
} as const satisfies Record<string, FindingDefinition>;

/** What a restore test covers and what it does not. */
export const TEST_COVERAGE_FINDINGS = {
  TESTED_ON: {
    severity: 'info',
    message: 'the restore test ran on a scratch server of version {version}',
    remedy: null,
  },
  EXTENSION_RELATIONS_NOT_COMPARED: {
    severity: 'info',
    message:
      'the restore test of database {database:quoted} does not cover the rows of {count:count} tables and sequences of extensions: {relations:list}',
    remedy:
      'A dump leaves these rows to the extension. Those that you have changed come back as the extension makes them: keep your changes in a script.',
  },
  PRELOADED_LIBRARIES_NOT_LOADED: {
    severity: 'info',
    message: 'the scratch server did not load {libraries:list}, which the source preloads',
    remedy:
      'Name the libraries that you trust in connection.preloadLibraries of the agent file: their code then runs in scratch servers.',
  },
} as const satisfies Record<string, FindingDefinition>;
