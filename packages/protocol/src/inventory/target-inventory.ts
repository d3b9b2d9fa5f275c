import { z } from 'zod';
import { nameSchema } from '../ids.ts';

export const targetInventorySchema = z.object({
  name: nameSchema,
  engine: z.string().min(1),
  labels: z.record(z.string(), z.string()),
  repository: nameSchema,
  state: z.enum(['ok', 'unreachable', 'refused']),
  version: z.string().nullable(),
  systemId: z.string().nullable(),
  sizeBytes: z.number().nullable(),
  databases: z.array(z.object({ name: z.string(), sizeBytes: z.number() })),
  /** One that begins with an error code and a colon says that the target is not in order. */
  findings: z.array(z.string()),
});
export type TargetInventory = z.infer<typeof targetInventorySchema>;
