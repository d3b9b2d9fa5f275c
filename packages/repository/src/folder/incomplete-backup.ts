import { rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { removeFile, storeFailure, syncFolder } from '@lastgood/host';
import { lookAt, namesIn } from './safe-path.ts';

export const MANIFEST = 'manifest.json';
/** In the folder of a backup that is being written; a folder that has data, but neither this nor a manifest, has lost its manifest. */
export const UNFINISHED = 'unfinished';
/** The final name of an object, as a manifest lists it below `data/`. */
const OBJECT = /^[0-9]{4}\.[a-z]+(\.zst)?(\.age)?$/;
const PARTIAL = /^[0-9]{4}\.[a-z]+(\.zst)?(\.age)?\.partial$/;

export const exists = async (path: string): Promise<boolean> => (await lookAt(path)) !== undefined;
export const hasObjects = async (folder: string): Promise<boolean> =>
  (await namesIn(join(folder, 'data'))).some((name) => OBJECT.test(name));

/** True when a folder has objects, but neither a manifest nor the mark of one that was never finished: they may be all that is left of a good backup (B12). */
export async function hasLostManifest(folder: string): Promise<boolean> {
  if (!(await hasObjects(folder)) || (await exists(join(folder, UNFINISHED)))) return false;
  return !(await exists(join(folder, MANIFEST)));
}

/**
 * Removes the folder of a backup that was never finished. The manifest first, when publication came that far, so that nothing is
 * ever listed whose data is going; the mark last, so that a cut in between leaves it unfinished, and not a lost manifest.
 */
export async function removeUnfinished(folder: string): Promise<void> {
  try {
    await removeFile(join(folder, MANIFEST));
    await syncFolder(folder);
    await rm(join(folder, 'data'), { recursive: true, force: true });
    await syncFolder(folder);
    await rm(folder, { recursive: true, force: true });
  } catch (error) {
    throw storeFailure(error, folder);
  }
}

/** Removes the folder of a backup that was killed before it was marked; one that holds anything but partial files stays. */
export async function removeEmpty(folder: string): Promise<void> {
  if (await hasObjects(folder)) return;
  await removeFile(join(folder, `${UNFINISHED}.partial`));
  for (const name of await namesIn(join(folder, 'data')))
    if (PARTIAL.test(name)) await removeFile(join(folder, 'data', name));
  for (const path of [join(folder, 'data'), folder])
    await rmdir(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'ENOENT') throw storeFailure(error, path);
    });
}

/** Removes small files that a crash left unfinished in a folder; whoever may write there does nothing else meanwhile. */
export async function sweepPartials(folder: string): Promise<void> {
  for (const name of await namesIn(folder)) if (name.endsWith('.json.partial')) await removeFile(join(folder, name));
}
