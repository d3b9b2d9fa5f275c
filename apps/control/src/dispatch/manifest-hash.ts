import { backupIdOf, type JobSpec } from '@lastgood/protocol';
import type { BackupQueries } from '../catalog/backup-queries.ts';

type Hashed = Extract<JobSpec, { command: 'verify' | 'plan' | 'restore' }>;
const isHashed = (spec: JobSpec): spec is Hashed => ['verify', 'plan', 'restore'].includes(spec.command);

/** The job as it was asked for. */
export function withoutManifestHash(spec: JobSpec): JobSpec {
  if (!isHashed(spec)) return spec;
  const { manifestSha256: _hash, ...asked } = spec;
  return asked;
}

/**
 * The job with the hash of the manifest that the catalog knows, whatever the caller sent: the agent refuses a manifest that was put in
 * the place of this one (attack-B10). Without it where the backup is chosen on the host, or is not in the catalog.
 */
export async function withManifestHash(
  backups: Pick<BackupQueries, 'get'>,
  agentId: string,
  spec: JobSpec,
): Promise<JobSpec> {
  if (!isHashed(spec)) return spec;
  const asked = withoutManifestHash(spec);
  const backupId = backupIdOf(spec);
  const known = backupId === null ? undefined : await backups.get(backupId);
  if (known === undefined || known.agentId !== agentId) return asked;
  return { ...spec, manifestSha256: known.summary.manifestSha256 };
}
