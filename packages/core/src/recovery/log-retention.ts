import type { Manifest } from '@lastgood/protocol';

/**
 * For each log stream that backups name, the oldest segment that one of them needs: what is before it can be removed. A stream that no
 * backup names is not listed, and keeps everything. `manifests` are those of all backups that can still be restored or brought back.
 */
export function oldestNeededSegments(manifests: readonly Pick<Manifest, 'logRange'>[]): ReadonlyMap<string, string> {
  const oldest = new Map<string, string>();
  for (const { logRange } of manifests) {
    if (logRange === null) continue;
    const known = oldest.get(logRange.stream);
    if (known === undefined || logRange.from < known) oldest.set(logRange.stream, logRange.from);
  }
  return oldest;
}
