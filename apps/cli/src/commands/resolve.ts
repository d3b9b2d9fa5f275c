import { Failure } from '@lastgood/core';
import type { BackupView, TargetView } from '@lastgood/protocol';
import type { AdminClient } from '../client.ts';

const MAX_LISTED = 1000;
const LEAST_PREFIX = 4;

/** The one target that a selector names. */
export async function oneTarget(client: AdminClient, selector: string): Promise<TargetView> {
  const found = await client.targets.query({ target: selector });
  const [first] = found;
  if (first === undefined || found.length > 1) {
    const names = found.map((target) => `${target.environment}/${target.host}/${target.name}`).join(', ');
    throw new Failure('BAD_INPUT', `"${selector}" is ambiguous: ${names}`);
  }
  return first;
}

export const fullName = (target: { environment: string; host: string; name: string }): string =>
  `${target.environment}/${target.host}/${target.name}`;

/** A backup of a target by its id, by the end or beginning of it, or `latest` for the newest good one. */
export async function oneBackup(client: AdminClient, target: string, wanted: string): Promise<BackupView> {
  const backups = await client.backups.query({ target, limit: MAX_LISTED });
  if (wanted === 'latest') {
    const newest = backups
      .toSorted((a, b) => b.sequence - a.sequence)
      .find((backup) => backup.state === 'good' || backup.state === 'suspect');
    if (newest === undefined) throw new Failure('NOT_FOUND', `target ${target} has no good backup`);
    return newest;
  }
  const matching =
    wanted.length < LEAST_PREFIX
      ? []
      : backups.filter((backup) => backup.backupId.startsWith(wanted) || backup.backupId.endsWith(wanted));
  const [first] = matching;
  if (first === undefined) throw new Failure('NOT_FOUND', `target ${target} has no backup "${wanted}"`);
  if (matching.length > 1)
    throw new Failure('BAD_INPUT', `"${wanted}" fits ${matching.length} backups; give more of the id`);
  return first;
}
