import { type ArtifactSource, Failure } from '@lastgood/core';
import type { ManifestObject } from '@lastgood/protocol';
import type { z } from 'zod';
import { readSmallArtifact } from '../small-artifact.ts';
import { type Fingerprint, fingerprintSchema } from './fingerprint.ts';
import { type Properties, propertiesSchema } from './properties.ts';

/** What a backup holds of one database. */
export interface DatabaseArtifacts {
  readonly database: string;
  readonly dump: ManifestObject;
  readonly properties: Properties;
  readonly fingerprint: Fingerprint;
}

async function readArtifact<T>(
  source: ArtifactSource,
  role: string,
  database: string,
  schema: z.ZodType<T>,
  signal: AbortSignal,
): Promise<T> {
  const object = source.manifest.objects.find(
    (candidate) => candidate.role === role && candidate.contents === database,
  );
  if (object === undefined)
    throw new Failure('MANIFEST_INVALID', `the backup has no ${role} of database "${database}"`);
  const content = await readSmallArtifact(source, object, signal);
  try {
    return schema.parse(JSON.parse(content));
  } catch (error) {
    throw new Failure('BACKUP_CORRUPT', `${object.name} is not what a ${role} must be`, { cause: error });
  }
}

/** Reads the small artifacts of one database; BACKUP_CORRUPT when their bytes are not those that were written. */
export async function artifactsOf(
  source: ArtifactSource,
  database: string,
  signal: AbortSignal,
): Promise<DatabaseArtifacts> {
  const dump = source.manifest.objects.find((object) => object.role === 'dump' && object.contents === database);
  if (dump === undefined) throw new Failure('NOT_FOUND', `the backup does not hold database "${database}"`);
  const properties = await readArtifact(source, 'properties', database, propertiesSchema, signal);
  const fingerprint = await readArtifact(source, 'fingerprint', database, fingerprintSchema, signal);
  return { database, dump, properties, fingerprint };
}

/** The globals of a backup as SQL text. */
export async function globalsOf(source: ArtifactSource, signal: AbortSignal): Promise<string> {
  const object = source.manifest.objects.find((candidate) => candidate.role === 'globals');
  if (object === undefined) throw new Failure('MANIFEST_INVALID', 'the backup has no globals');
  return await readSmallArtifact(source, object, signal);
}

/** The encoding of the database from which the globals were read; UTF8 when the manifest does not name it. */
export function encodingOf(source: ArtifactSource): string {
  const { encoding } = source.manifest.engineFacts;
  return typeof encoding === 'string' ? encoding : 'UTF8';
}

export const databasesOf = (source: ArtifactSource): string[] => source.manifest.contents.map(({ name }) => name);

/** The size that the database had in its server when it was backed up. */
export function sizeOf(source: ArtifactSource, database: string): number {
  const { databases } = source.manifest.engineFacts;
  if (!Array.isArray(databases)) return 0;
  for (const entry of databases) {
    if (entry !== null && typeof entry === 'object' && !Array.isArray(entry) && entry['name'] === database)
      return Number(entry['sizeBytes'] ?? 0);
  }
  return 0;
}
