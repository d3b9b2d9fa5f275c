import { type ArtifactSource, Failure } from '@lastgood/core';
import type { ManifestObject } from '@lastgood/protocol';
import { z } from 'zod';
import { readSmallArtifact } from '../small-artifact.ts';
import type { GraphFingerprint } from './fingerprint.ts';

const counts = z.record(z.string(), z.number());
const names = z.array(z.string());
const schemaElement = z.object({
  name: z.string(),
  type: z.string(),
  entityType: z.string(),
  labelsOrTypes: names,
  properties: names,
});
/** A fingerprint as the backup stores it. */
export const fingerprintSchema = z.object({
  nodes: z.number(),
  relationships: z.number(),
  labels: counts,
  types: counts,
  indexes: z.array(schemaElement.extend({ owningConstraint: z.string().nullable(), state: z.string() })),
  constraints: z.array(schemaElement),
  digests: z.object({ nodes: z.string(), relationships: z.string() }).nullable(),
}) satisfies z.ZodType<GraphFingerprint>;

/** The objects of one database in a backup. */
export interface DatabaseObjects {
  readonly dump: ManifestObject;
  /** Null for `system`, and when the graph was not counted. */
  readonly fingerprint: ManifestObject | null;
}

/** Finds the objects of one database. Throws NOT_FOUND when the backup does not hold it. */
export function objectsOf({ manifest }: ArtifactSource, database: string): DatabaseObjects {
  const find = (role: string): ManifestObject | undefined =>
    manifest.objects.find((object) => object.role === role && object.contents === database);
  const dump = find('dump');
  if (dump === undefined) throw new Failure('NOT_FOUND', `the backup does not hold database "${database}"`);
  return { dump, fingerprint: find('fingerprint') ?? null };
}

/** Reads a stored fingerprint. Throws BACKUP_CORRUPT when it is damaged. */
export async function loadFingerprint(
  source: ArtifactSource,
  object: ManifestObject,
  signal: AbortSignal,
): Promise<GraphFingerprint> {
  const { data } = fingerprintSchema.safeParse(parse(await readSmallArtifact(source, object, signal)));
  if (data === undefined) throw new Failure('BACKUP_CORRUPT', `${object.name} is not a fingerprint`);
  return data;
}
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
