import type { BackupMethodSupport } from '@lastgood/core';
import { z } from 'zod';

/** A snapshot of the whole server, as it writes it itself. */
export const RDB = {
  engine: 'redis',
  method: 'rdb',
  roles: ['rdb', 'config', 'fingerprint'],
} as const satisfies BackupMethodSupport;

/** The append-only files of the whole server. */
export const AOF = {
  engine: 'redis',
  method: 'aof',
  roles: ['aof', 'aof-manifest', 'config', 'fingerprint'],
} as const satisfies BackupMethodSupport;

/** What a backup holds and a restore brings back: all databases together. */
export const CONTENT = { kind: 'server', name: 'server' } as const;

/** The options of both methods. */
export const backupOptionsSchema = z.strictObject({
  digests: z
    .boolean()
    .default(false)
    .describe('Loads the backup into a scratch server and stores digests of all values, for verification at level 6.'),
});
