import type { BackupMethodSupport } from '@lastgood/core';
import { z } from 'zod';

/** What `pg_dump` writes, one database at a time. */
export const LOGICAL = {
  engine: 'postgres',
  method: 'logical',
  roles: ['dump', 'globals', 'properties', 'fingerprint'],
} as const satisfies BackupMethodSupport;

/** The backups that this engine can restore. */
export const postgresMethods: readonly BackupMethodSupport[] = [LOGICAL];

/** The options of a logical backup. */
export const logicalOptionsSchema = z.strictObject({
  digests: z.boolean().default(false).describe('Stores a digest of every row, for verification at level 6.'),
});
