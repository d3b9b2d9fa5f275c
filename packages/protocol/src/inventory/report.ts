import { z } from 'zod';
import { backupSummarySchema } from '../backup/summary.ts';
import { nameSchema, uuidSchema } from '../ids.ts';
import { LIMITS } from '../limits.ts';
import { inSession } from '../session/messages.ts';
import { targetInventorySchema } from './target-inventory.ts';

export const inventoryInputSchema = z.object({
  ...inSession,
  hash: z.string(),
  targets: z.array(targetInventorySchema).max(LIMITS.targets),
  backups: z.array(backupSummarySchema).max(10_000),
  /** False: only the newest backups fitted into the frame. */
  complete: z.boolean().default(true),
  /** Backups that a rotation has removed, whatever became of its report: they are not missing. */
  removed: z.array(uuidSchema).max(10_000).default([]),
  /** The targets whose repository was read, of which `backups` tells; all of them when an older agent does not say. */
  scanned: z.array(nameSchema).max(LIMITS.targets).optional(),
  /** The names of the checks of the agent file, and of the hooks that the control plane may run. */
  checks: z.array(nameSchema).max(LIMITS.hostNames).default([]),
  hooks: z.array(nameSchema).max(LIMITS.hostNames).default([]),
});
