import { join } from 'node:path';
import { type Manifest, type ManifestObject, makeFinding, type VerificationFinding } from '@lastgood/protocol';
import { exists } from './incomplete-backup.ts';
import { checkFolder, lookAt } from './safe-path.ts';

/** Level 0 of one object: what is wrong with it at a glance, without its bytes. */
export async function checkPresence(folder: string, object: ManifestObject): Promise<VerificationFinding | undefined> {
  const found = await lookAt(join(folder, object.name));
  const at = { level: 0, object: object.name };
  if (found === undefined) return { ...at, ...makeFinding('OBJECT_MISSING', null) };
  if (!found.isFile()) return { ...at, ...makeFinding('OBJECT_NOT_A_FILE', null) };
  const expected = object.stored.size;
  if (found.size === expected) return undefined;
  return { ...at, ...makeFinding('OBJECT_SIZE_DIFFERS', null, { found: found.size, expected }) };
}

/** Level 0 of a whole backup. A manifest alone is no backup: what it lists has to be there (B11, I3). */
export async function checkAllPresent(folder: string, manifest: Manifest): Promise<VerificationFinding[]> {
  if (await exists(join(folder, 'data'))) await checkFolder(join(folder, 'data'));
  const findings = await Promise.all(manifest.objects.map((object) => checkPresence(folder, object)));
  return findings.filter((finding) => finding !== undefined);
}
