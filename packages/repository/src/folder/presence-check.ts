import { join } from 'node:path';
import type { Finding, Manifest, ManifestObject } from '@lastgood/protocol';
import { exists } from './incomplete-backup.ts';
import { checkFolder, lookAt } from './safe-path.ts';

/** Level 0 of one object: what is wrong with it at a glance, without its bytes. */
export async function checkPresence(folder: string, object: ManifestObject): Promise<Finding | undefined> {
  const found = await lookAt(join(folder, object.name));
  const say = (message: string): Finding => ({ level: 0, object: object.name, message });
  if (found === undefined) return say('the object is missing');
  if (!found.isFile()) return say('the object is not a regular file');
  if (found.size !== object.stored.size)
    return say(`the object has ${found.size} bytes, its manifest says ${object.stored.size}`);
  return undefined;
}

/** Level 0 of a whole backup. A manifest alone is no backup: what it lists has to be there (B11, I3). */
export async function checkAllPresent(folder: string, manifest: Manifest): Promise<Finding[]> {
  if (await exists(join(folder, 'data'))) await checkFolder(join(folder, 'data'));
  const findings = await Promise.all(manifest.objects.map((object) => checkPresence(folder, object)));
  return findings.filter((finding) => finding !== undefined);
}
