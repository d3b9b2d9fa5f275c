import { type ArtifactSource, Failure } from '@lastgood/core';
import type { Manifest, ManifestObject } from '@lastgood/protocol';
import { z } from 'zod';
import { readSmallArtifact } from '../small-artifact.ts';
import { dataFiles, parseAofManifest } from './aof-manifest.ts';
import { AOF } from './backup-method.ts';
import { type RedisFingerprint, redisFingerprintSchema } from './fingerprint.ts';
import type { RestoreSource } from './restore-plan.ts';

const count = z.int().min(0);
const product = z.enum(['redis', 'valkey']);

/** What the manifest of a backup says in `engineFacts`. */
export const engineFactsSchema = z.object({
  product,
  /** Of the product. */
  version: z.string(),
  /** Of the RDB file; null for a base file of commands. */
  format: z.object({ magic: z.enum(['REDIS', 'VALKEY']), version: count }).nullable(),
  /** What the data took in the memory of the server. */
  memoryBytes: count,
  evictionPolicy: z.string().nullable(),
  /** Null when the keys could not be counted: those of append-only files are not. */
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
  const content = await readSmallArtifact(source, object, signal);
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

/** The stored configuration files; empty for a backup without. Throws BACKUP_CORRUPT when they are not what was written. */
export async function readStoredConfig(
  source: ArtifactSource,
  signal: AbortSignal,
): Promise<z.infer<typeof capturedConfigSchema>['files']> {
  const object = objectOf(source.manifest, 'config');
  return object === undefined ? [] : (await readJson(source, object, capturedConfigSchema, signal)).files;
}

const storedSetSchema = z.object({
  /** The text of the manifest of the set. */
  manifest: z.string(),
  /** The files of the set by the names of their stored objects. */
  members: z.array(z.object({ name: z.string(), object: z.string() })).min(1),
});
export interface StoredSet {
  readonly manifest: string;
  readonly members: readonly { readonly name: string; readonly object: ManifestObject }[];
}

/** The append-only set of a backup. Throws BACKUP_CORRUPT when its manifest and its files do not fit. */
export async function readStoredSet(source: ArtifactSource, signal: AbortSignal): Promise<StoredSet> {
  const { manifest } = source;
  const object = objectOf(manifest, 'aof-manifest');
  if (object === undefined)
    throw new Failure('MANIFEST_INVALID', 'the backup has no manifest of its append-only files');
  const stored = await readJson(source, object, storedSetSchema, signal);
  const files = new Map(manifest.objects.map((each) => [each.name, each]));
  const members = stored.members.flatMap(({ name, object: of }) => {
    const found = files.get(of);
    return found === undefined ? [] : [{ name, object: found }];
  });
  // These names become names of files.
  const named = dataFiles(parseAofManifest(stored.manifest)).map(({ name }) => name);
  if (JSON.stringify(named) !== JSON.stringify(members.map(({ name }) => name)))
    throw new Failure('BACKUP_CORRUPT', `${object.name} does not fit the files of the backup`);
  return { manifest: stored.manifest, members };
}

export const methodOf = ({ method }: Pick<Manifest, 'method'>): RestoreSource['method'] =>
  method === AOF.method ? 'aof' : 'rdb';

/** The objects that hold the data. */
export const dataObjectsOf = ({ objects }: Manifest): readonly ManifestObject[] =>
  objects.filter(({ role }) => role === 'rdb' || role === 'aof');

export const sumOf = (objects: readonly ManifestObject[], side: 'stored' | 'produced'): number =>
  objects.reduce((sum, object) => sum + object[side].size, 0);

/** The backup as the plan of a restore needs it. */
export function restoreSourceOf(manifest: Manifest): RestoreSource {
  const { databases, digests: _, ...facts } = engineFactsOf(manifest);
  const bytes = sumOf(dataObjectsOf(manifest), 'produced');
  return { ...facts, method: methodOf(manifest), bytes, databases: databases ?? {} };
}
