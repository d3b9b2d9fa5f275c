import { z } from 'zod';

/** Options of an engine's backup methods and restores. The definition of the engine has their schema. */
export const jobOptionsSchema = z
  .record(z.string().min(1).max(64), z.union([z.boolean(), z.number(), z.string().max(1024)]))
  .refine((options) => Object.keys(options).length <= 32, 'at most 32 options');
export type JobOptions = z.infer<typeof jobOptionsSchema>;
