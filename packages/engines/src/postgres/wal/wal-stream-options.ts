import { z } from 'zod';

/** The `stream` of a PostgreSQL target in the agent file. */
export const walStreamOptionsSchema = z.strictObject({
  enabled: z
    .boolean()
    .default(true)
    .describe('Receives WAL all the time. Set it to false, and not only remove `stream`, so that the slot is dropped.'),
  slot: z
    .string()
    .regex(/^[a-z0-9_]{1,63}$/, 'use 1 to 63 of a-z, 0-9 and "_"')
    .default('lastgood')
    .describe('The replication slot. The agent creates it; max_slot_wal_keep_size of the server must cap it.'),
  switchSeconds: z
    .int()
    .min(2)
    .max(86_400)
    .nullable()
    .default(60)
    .describe(
      'Closes a WAL segment after so many seconds, so that it is stored: the RPO of a quiet server. Null for never.',
    ),
  spoolSegments: z
    .int()
    .min(2)
    .max(10_000)
    .default(64)
    .describe('WAL segments that may wait on this host while the repository is slow; beyond it the server keeps them.'),
});
export type WalStreamOptions = z.infer<typeof walStreamOptionsSchema>;
