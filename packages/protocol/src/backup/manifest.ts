import { z } from 'zod';
import { findingSchema } from '../findings/finding.ts';
import { instantSchema, nameSchema, sha256Schema, uuidSchema } from '../ids.ts';

const bytes = z.int().min(0);
const digest = z.object({ size: bytes, sha256: sha256Schema });

/**
 * One stored artifact. `produced` = the bytes of the tool, `stored` = the bytes in the repository. Role, compression and encryption
 * are open sets: a newer version may write others, and this one has to list such a backup without being able to restore it.
 */
export const manifestObjectSchema = z.object({
  /** Path below the backup's folder, made by us: `data/0001.dump.zst`. */
  name: z.string().regex(/^data(\/[A-Za-z0-9_][A-Za-z0-9._-]*)+$/),
  role: z.string().min(1),
  /** The name of the one of the backup's `contents` that it belongs to; null when it belongs to all of them. */
  contents: z.string().nullable(),
  /** `zstd` or `none`. */
  compression: z.string().min(1),
  encryption: z.object({ format: z.string().min(1), recipients: z.array(z.string()) }).nullable(),
  produced: digest,
  stored: digest,
});
export type ManifestObject = z.infer<typeof manifestObjectSchema>;

/** Something that a backup holds and that people restore by name: a database. `bytes`: what the tool produced for it. */
export const backupContentSchema = z.object({ kind: z.string().min(1), name: z.string(), bytes });
export type BackupContent = z.infer<typeof backupContentSchema>;

/** The segments of a log stream that a backup needs to become consistent, both ends included. */
export const logRangeSchema = z.object({ stream: z.string(), from: z.string(), to: z.string() });
export type LogRange = z.infer<typeof logRangeSchema>;

/**
 * Written last: its presence is the backup. `checksum` is the SHA-256 of the canonical JSON of all other keys. This is what can be
 * read; whether this version can restore what it reads is decided by packages/repository.
 */
export const manifestSchema = z.object({
  format: z.int().min(1),
  backupId: uuidSchema,
  jobId: uuidSchema,
  attempt: z.int().min(1),
  /** Counts up per target, whatever the clock says. */
  sequence: z.int().min(1),
  repositoryId: uuidSchema,
  environment: nameSchema,
  host: nameSchema,
  target: nameSchema,
  engine: z.string().min(1),
  method: z.string().min(1),
  startedAt: instantSchema,
  /** The instant a restore brings back. */
  recoveryPoint: instantSchema,
  finishedAt: instantSchema,
  lastgoodVersion: z.string(),
  tool: z.object({ name: z.string(), version: z.string() }),
  server: z.object({ version: z.string(), systemId: z.string() }),
  objects: z.array(manifestObjectSchema).min(1),
  contents: z.array(backupContentSchema),
  /** The backups that a restore reads besides this one. */
  dependsOn: z.array(uuidSchema),
  logRange: logRangeSchema.nullable(),
  /** The next three are null until encryption and signatures are set up. */
  encryption: z.json(),
  keyId: z.string().nullable(),
  signature: z.string().nullable(),
  /** What only the engine understands, in short; anything long is an object of its own. */
  engineFacts: z.record(z.string(), z.json()),
  warnings: z.array(findingSchema),
  checksum: sha256Schema,
});
export type Manifest = z.infer<typeof manifestSchema>;
