import { type ArtifactSource, type ContentItem, type EngineContext, Failure } from '@lastgood/core';
import { artifactsOf } from './artifacts.ts';
import { LOGICAL } from './backup-methods.ts';

/**
 * The tables and sequences of each database with the rows that a table had, by the fingerprint of the backup. Throws BAD_INPUT for a
 * backup of the files of the server: it has none.
 */
export async function listContents(source: ArtifactSource, { signal }: EngineContext): Promise<ContentItem[]> {
  const { manifest } = source;
  if (manifest.method !== LOGICAL.method)
    throw new Failure('BAD_INPUT', `a ${manifest.method} backup has no list of its tables`, {
      remedy: 'Name a logical backup, or restore this one into a folder and look there.',
    });
  const items: ContentItem[] = [];
  for (const { name: database } of manifest.contents) {
    const { fingerprint } = await artifactsOf(source, database, signal);
    for (const { schema, name, rows, derived } of fingerprint.tables)
      items.push({
        content: database,
        kind: derived ? 'materialized view' : 'table',
        name: `${schema}.${name}`,
        rows: Number(rows),
      });
    for (const { schema, name } of fingerprint.sequences)
      items.push({ content: database, kind: 'sequence', name: `${schema}.${name}`, rows: null });
  }
  return items;
}
