import { z } from 'zod';
import { nameSchema, uuidSchema } from '../ids.ts';

export const enrollInputSchema = z.object({
  token: z.string().min(1).max(256),
  installId: uuidSchema,
  host: nameSchema,
  environment: nameSchema,
  labels: z.record(z.string(), z.string()),
  publicKey: z.string().max(1024),
  protocol: z.int(),
});
export const enrollAnswerSchema = z.object({ agentId: uuidSchema });
