import { z } from 'zod';
import { findingSchema } from '../findings/finding.ts';
import { databaseNameSchema, instantSchema, nameSchema, sha256Schema, uuidSchema } from '../ids.ts';

const bytes = z.int().min(0);
/** One stored artifact. `produced` = the bytes of the tool, `stored` = the bytes in the repository. */
export const manifestObjectSchema = z.strictObject({
  /** Path below the backup's folder, made by us: `data/0001.dump.zst`. */
  name: z.string().regex(/^data\/[0-9]{4}\.[a-z]+(\.zst)?(\.age)?$/),
  role: z.enum(['dump', 'globals', 'properties', 'fingerprint']),
  database: databaseNameSchema.nullable(),
  compression: z.enum(['zstd', 'none']),
  /** Reserved: null until encryption is set up. */
  encryption: z.strictObject({ format: z.literal('age'), recipients: z.array(z.string()).min(1) }).nullable(),
  produced: z.strictObject({ size: bytes, sha256: sha256Schema }),
  stored: z.strictObject({ size: bytes, sha256: sha256Schema }),
});
export type ManifestObject = z.infer<typeof manifestObjectSchema>;

/** Written last: its presence is the backup. `checksum` is the SHA-256 of the canonical JSON of all other keys. */
export const manifestSchema = z.strictObject({
  format: z.literal(1),
  backupId: uuidSchema,
  jobId: uuidSchema,
  attempt: z.int().min(1),
  /** Counts up per target, whatever the clock says. */
  sequence: z.int().min(1),
  repositoryId: uuidSchema,
  environment: nameSchema,
  host: nameSchema,
  target: nameSchema,
  engine: z.enum(['postgres', 'redis', 'neo4j']),
  kind: z.enum(['logical', 'physical', 'rdb', 'aof', 'dump']),
  startedAt: instantSchema,
  /** The instant a restore brings back: when the (first) snapshot was taken. */
  snapshotAt: instantSchema,
  finishedAt: instantSchema,
  lastgoodVersion: z.string(),
  tool: z.strictObject({ name: z.string(), version: z.string() }),
  server: z.strictObject({ version: z.string(), systemId: z.string() }),
  objects: z.array(manifestObjectSchema).min(1),
  /** Engine-specific facts in short: names of databases, sizes. The long fingerprint is an object of its own. */
  facts: z.record(z.string(), z.json()),
  warnings: z.array(findingSchema),
  checksum: sha256Schema,
});
export type Manifest = z.infer<typeof manifestSchema>;
