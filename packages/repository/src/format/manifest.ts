import { Failure } from '@lastgood/core';
import { type Manifest, manifestSchema } from '@lastgood/protocol';
import { z } from 'zod';
import { canonicalJson } from './canonical-json.ts';
import { sha256 } from './metadata.ts';

/** The manifest as it is stored: canonical JSON with its own checksum, so that any later edit is seen. */
export function sealManifest(content: Omit<Manifest, 'checksum'>): { manifest: Manifest; text: string } {
  const manifest = manifestSchema.parse({ ...content, checksum: sha256(canonicalJson(content)) });
  return { manifest, text: `${canonicalJson(manifest)}\n` };
}

/** Reads a stored manifest; MANIFEST_INVALID when it was damaged, edited or does not belong where it lies (B12). */
export function parseManifest(
  text: string,
  expected: { backupId: string; environment: string; host: string; target: string; repositoryId: string },
): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Failure('MANIFEST_INVALID', `the manifest of ${expected.backupId} is not JSON`);
  }
  const parsed = manifestSchema.safeParse(value);
  if (!parsed.success)
    throw new Failure(
      'MANIFEST_INVALID',
      `the manifest of ${expected.backupId} is not valid: ${parsed.error.issues[0]?.message ?? ''}`,
    );
  const { checksum, ...content } = parsed.data;
  if (sha256(canonicalJson(content)) !== checksum)
    throw new Failure('MANIFEST_INVALID', `the manifest of ${expected.backupId} was changed after it was written`);
  for (const key of ['backupId', 'environment', 'host', 'target', 'repositoryId'] as const) {
    if (parsed.data[key] !== expected[key])
      throw new Failure(
        'MANIFEST_INVALID',
        `the manifest of ${expected.backupId} belongs to ${key} ${parsed.data[key]}, not ${expected[key]}`,
      );
  }
  const names = parsed.data.objects.map((object) => object.name);
  if (new Set(names).size !== names.length)
    throw new Failure('MANIFEST_INVALID', `the manifest of ${expected.backupId} lists an object twice`);
  return parsed.data;
}

/** Beyond this a number is damage, and must not push those of later backups out of what a manifest can hold. */
const MAX_SEQUENCE = 1_000_000_000;
const numbered = z.object({ sequence: z.int().min(1).max(MAX_SEQUENCE) });

/** The number in a manifest that need not be good; 0 when there is none to be read. */
export function sequenceOf(text: string): number {
  try {
    return numbered.parse(JSON.parse(text)).sequence;
  } catch {
    return 0;
  }
}
