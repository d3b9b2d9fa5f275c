import { text } from 'node:stream/consumers';
import { type ArtifactSource, Failure } from '@lastgood/core';
import type { Manifest, ManifestObject } from '@lastgood/protocol';
import { z } from 'zod';
import { type RedisFingerprint, redisFingerprintSchema } from './fingerprint.ts';
import type { RestoreSource } from './restore-plan.ts';

const count = z.int().min(0);
const product = z.enum(['redis', 'valkey']);

/** What the manifest of a backup by snapshot says in `engineFacts`. */
export const engineFactsSchema = z.object({
  product,
  /** Of the product. */
  version: z.string(),
  format: z.object({ magic: z.enum(['REDIS', 'VALKEY']), version: count }),
  /** What the data took in the memory of the server. */
  memoryBytes: count,
  evictionPolicy: z.string().nullable(),
  /** Null when the keys of the file could not be counted. */
  databases: z.record(z.string(), z.object({ keys: count, expires: count })).nullable(),
  moduleTypes: z.array(z.string()),
  modules: z.array(z.object({ name: z.string(), version: z.string() })),
  /** The fingerprint has digests. */
  digests: z.boolean(),
});
export type EngineFacts = z.infer<typeof engineFactsSchema>;

/** Throws MANIFEST_INVALID. */
export function engineFactsOf({ engineFacts }: Manifest): EngineFacts {
  const parsed = engineFactsSchema.safeParse(engineFacts);
  if (parsed.success) return parsed.data;
  throw new Failure('MANIFEST_INVALID', `engineFacts: ${z.prettifyError(parsed.error)}`);
}

/** All keys of the backup; null when they could not be counted. */
export const keysOf = ({ databases }: EngineFacts): number | null =>
  databases === null ? null : Object.values(databases).reduce((sum, { keys }) => sum + keys, 0);

const objectOf = ({ objects }: Manifest, role: string): ManifestObject | undefined =>
  objects.find((object) => object.role === role);

/** Throws MANIFEST_INVALID. */
export function rdbObjectOf(manifest: Manifest): ManifestObject {
  const object = objectOf(manifest, 'rdb');
  if (object === undefined) throw new Failure('MANIFEST_INVALID', 'the backup has no RDB file');
  return object;
}

/** A small object of a backup, decoded. Throws BACKUP_CORRUPT when it is not what was written. */
async function readJson<T>(
  source: ArtifactSource,
  object: ManifestObject,
  schema: z.ZodType<T>,
  signal: AbortSignal,
): Promise<T> {
  const content = await text(source.open(object, signal));
  try {
    return schema.parse(JSON.parse(content));
  } catch (error) {
    throw new Failure('BACKUP_CORRUPT', `${object.name} is not what a ${object.role} must be`, { cause: error });
  }
}

/** Null for a backup without a fingerprint: the keys of its file could not be counted. */
export async function readStoredFingerprint(
  source: ArtifactSource,
  signal: AbortSignal,
): Promise<RedisFingerprint | null> {
  const object = objectOf(source.manifest, 'fingerprint');
  return object === undefined ? null : await readJson(source, object, redisFingerprintSchema, signal);
}

export const capturedConfigSchema = z.object({
  files: z.array(
    z.object({
      path: z.string(),
      kind: z.enum(['config', 'acl']),
      text: z.string(),
      leftOut: z.array(z.object({ line: count, directive: z.string(), subject: z.string().nullable() })),
    }),
  ),
  missing: z.array(z.object({ path: z.string(), reason: z.string() })),
});

/** Throws BACKUP_CORRUPT when the stored configuration is not what was written. */
export async function checkStoredConfig(source: ArtifactSource, signal: AbortSignal): Promise<void> {
  const object = objectOf(source.manifest, 'config');
  if (object !== undefined) await readJson(source, object, capturedConfigSchema, signal);
}

/** The backup as the plan of a restore needs it. */
export function restoreSourceOf(manifest: Manifest): RestoreSource {
  const { databases, digests: _, ...facts } = engineFactsOf(manifest);
  return { ...facts, method: 'rdb', bytes: rdbObjectOf(manifest).produced.size, databases: databases ?? {} };
}
