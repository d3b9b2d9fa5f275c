import { randomUUID } from 'node:crypto';
import { Failure, type ObjectStore } from '@lastgood/core';
import { uuidSchema } from '@lastgood/protocol';
import { z } from 'zod';
import { canonicalJson } from './canonical-json.ts';
import { MARKER } from './layout.ts';
import { readJson, readText } from './metadata.ts';
import { putOnce } from './put-once.ts';

const markerSchema = z.object({ format: z.literal(1), repositoryId: uuidSchema });

/** The id of the repository in a store. A store without marker is the mount point of a disk that is not there (B5). */
export async function repositoryIdOf(store: ObjectStore): Promise<string> {
  const marker = await readJson(store, MARKER, markerSchema);
  if (marker === undefined) throw new Failure('REPOSITORY_NOT_MOUNTED', `${store.locate('')} has no ${MARKER}`);
  return marker.repositoryId;
}

/** Makes a repository of a store without one. Several may do so at once: they all get the same repository. */
export async function ensureMarker(store: ObjectStore): Promise<void> {
  if ((await readText(store, MARKER)) !== undefined) return;
  await putOnce(store, MARKER, `${canonicalJson({ format: 1, repositoryId: randomUUID() })}\n`);
  // Of others that were killed; one that still runs finds the marker instead.
  await store.removePartials('', (name) => name !== MARKER);
}
