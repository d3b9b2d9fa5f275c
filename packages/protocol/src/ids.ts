import { z } from 'zod';

/** Names of environments, hosts, targets and repositories: they are words, not paths. */
export const nameSchema = z
  .string()
  .regex(
    /^[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?$/,
    'use 1 to 63 of a-z, 0-9, "-" and "_", beginning and ending with a letter or digit',
  );

/** The name of a database inside a server: any text the engine allows (63 bytes, no NUL). Never becomes a path. */
export const databaseNameSchema = z
  .string()
  .min(1)
  .refine((name) => new TextEncoder().encode(name).length <= 63, 'at most 63 bytes')
  .refine((name) => !name.includes('\0') && name.isWellFormed(), 'no NUL and no lone surrogate');

export const uuidSchema = z
  .string()
  .regex(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/, 'a lower-case UUID');
/** An instant with its offset. A time without offset is refused where it decides. */
export const instantSchema = z.iso.datetime({ offset: true });
export const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/);
/** Where a backup belongs. */
export const targetRefSchema = z.object({ environment: nameSchema, host: nameSchema, target: nameSchema });
export type TargetRef = z.infer<typeof targetRefSchema>;
