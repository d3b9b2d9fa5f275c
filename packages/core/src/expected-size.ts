import { isFromTrustedHost } from './recovery/dependencies.ts';
import type { StoredBackup } from './repository.ts';

/**
 * Estimates the stored bytes of the next backup of these contents from the last backup of each; `backups` are those of one method. New
 * contents count as 0. Objects that belong to all contents count as in the last backup.
 */
export function expectedBytes(backups: readonly StoredBackup[], contents: readonly string[]): number {
  const last = new Map<string | null, number>();
  for (const { manifest } of backups.filter(isFromTrustedHost))
    for (const name of [null, ...manifest.contents.map((content) => content.name)]) {
      const objects = manifest.objects.filter((object) => object.contents === name);
      last.set(
        name,
        objects.reduce((sum, object) => sum + object.stored.size, 0),
      );
    }
  return [null, ...new Set(contents)].reduce((sum, name) => sum + (last.get(name) ?? 0), 0);
}
