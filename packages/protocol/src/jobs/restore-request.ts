import { z } from 'zod';
import { databaseNameSchema, instantSchema, nameSchema, uuidSchema } from '../ids.ts';
import { jobOptionsSchema } from './options.ts';

const restoreInto = z.discriminatedUnion('way', [
  z.object({ way: z.literal('new'), name: databaseNameSchema }),
  z.object({ way: z.literal('folder'), folder: nameSchema }),
  z.object({ way: z.literal('swap') }),
  z.object({ way: z.literal('in-place') }),
]);
/**
 * Where a restore puts the data. `new` and `folder` (by its name in the agent file) touch nothing that exists; `swap` sets the old
 * data aside, for undo; `in-place` overwrites it.
 */
export type RestoreInto = z.infer<typeof restoreInto>;

export const restoreScopeSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('server') }),
  z.object({ kind: z.literal('database'), database: databaseNameSchema }),
  z.object({
    kind: z.literal('tables'),
    database: databaseNameSchema,
    tables: z.array(z.string().min(1).max(300)).min(1).max(1000),
  }),
]);
/** How much of a backup is restored. */
export type RestoreScope = z.infer<typeof restoreScopeSchema>;

const recoveryTarget = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('backup'), backupId: uuidSchema }),
  z.object({ kind: z.literal('time'), time: instantSchema }),
  z.object({ kind: z.literal('position'), position: z.string().min(1).max(64) }),
  z.object({ kind: z.literal('transaction'), transaction: z.string().min(1).max(64) }),
  z.object({ kind: z.literal('name'), name: z.string().min(1).max(255) }),
  z.object({ kind: z.literal('latest') }),
]);
/** The point that a restore brings back: that of a backup, or any point that a log stream covers (`position`: such as an LSN). */
export type RecoveryTarget = z.infer<typeof recoveryTarget>;

export const restoreRequestSchema = z.object({
  scope: restoreScopeSchema,
  point: recoveryTarget,
  into: restoreInto,
  options: jobOptionsSchema,
});
export type RestoreRequest = z.infer<typeof restoreRequestSchema>;
