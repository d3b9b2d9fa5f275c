import type { BackupMethodSupport } from '@lastgood/core';
import { z } from 'zod';

/** What `pg_dump` writes, one database at a time. */
export const LOGICAL = {
  engine: 'postgres',
  method: 'logical',
  roles: ['dump', 'globals', 'properties', 'fingerprint'],
} as const satisfies BackupMethodSupport;

/** The files of a whole cluster, with the WAL that makes them consistent. */
export const PHYSICAL = {
  engine: 'postgres',
  method: 'physical',
  roles: ['archive', 'manifest'],
} as const satisfies BackupMethodSupport;

/** The backups that this engine can restore. */
export const postgresMethods: readonly BackupMethodSupport[] = [LOGICAL, PHYSICAL];

/** The options of a logical backup. */
export const logicalOptionsSchema = z.strictObject({
  digests: z.boolean().default(false).describe('Stores a digest of every row, for verification at level 6.'),
});

/** The options of a physical backup. */
export const physicalOptionsSchema = z.strictObject({
  fastCheckpoint: z
    .boolean()
    .default(true)
    .describe('Begins with a checkpoint at once; false spreads it over time, and the backup begins later.'),
  maxRateKb: z
    .int()
    .min(32)
    .max(1_048_576)
    .nullable()
    .default(null)
    .describe('Kilobytes per second that the server sends at most; null for no limit.'),
});
