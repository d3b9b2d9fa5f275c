import type { StoredBackup } from './repository.ts';

/** Estimates the stored bytes of the next backup of these contents from the last backup of each. New contents count as 0. */
export function expectedBytes(backups: readonly StoredBackup[], contents: readonly string[]): number {
  const last = new Map<string, number>();
  for (const { manifest } of backups)
    for (const { name } of manifest.contents) {
      const objects = manifest.objects.filter((object) => object.contents === name);
      last.set(
        name,
        objects.reduce((sum, object) => sum + object.stored.size, 0),
      );
    }
  return [...new Set(contents)].reduce((sum, name) => sum + (last.get(name) ?? 0), 0);
}
