import type { BackupMethodSupport } from '@lastgood/core';

/** What `pg_dump` writes, one database at a time. */
export const LOGICAL = {
  engine: 'postgres',
  method: 'logical',
  roles: ['dump', 'globals', 'properties', 'fingerprint'],
} as const satisfies BackupMethodSupport;

/** The backups that this engine can restore. */
export const postgresMethods: readonly BackupMethodSupport[] = [LOGICAL];
