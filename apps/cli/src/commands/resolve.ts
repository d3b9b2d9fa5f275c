import { Failure } from '@lastgood/core';
import { type BackupView, type TargetView, uuidSchema } from '@lastgood/protocol';
import type { AdminClient } from '../client.ts';

const MAX_LISTED = 1000;
const LEAST_PREFIX = 4;

/** The one target that a selector names. */
export async function oneTarget(client: AdminClient, selector: string): Promise<TargetView> {
  const found = await client.targets.query({ target: selector });
  const [first] = found;
  if (first === undefined) throw new Failure('NOT_FOUND', `no target is named "${selector}"`);
  if (found.length > 1) {
    const names = found.map((target) => `${target.environment}/${target.host}/${target.name}`).join(', ');
    throw new Failure('BAD_INPUT', `"${selector}" is ambiguous: ${names}`);
  }
  return first;
}

export const fullName = (target: { environment: string; host: string; name: string }): string =>
  `${target.environment}/${target.host}/${target.name}`;

/**
 * A backup of a target by its id, by the end or beginning of it, or `latest`: to check, the newest that is good or suspect;
 * to restore, the newest good one, for a suspect one may lack what the restore is for, that holds `database` when one is named:
 * a database that was dropped is missing in the newest backups.
 */
export async function oneBackup(
  client: AdminClient,
  target: string,
  wanted: string,
  purpose: 'check' | 'restore',
  database?: string,
): Promise<BackupView> {
  const backups = await client.backups.query({ target, limit: MAX_LISTED });
  if (wanted === 'latest') {
    const newest = backups
      .toSorted((a, b) => b.sequence - a.sequence)
      .filter((backup) => database === undefined || backup.databases.includes(database))
      .find((backup) => backup.state === 'good' || (purpose === 'check' && backup.state === 'suspect'));
    if (newest === undefined)
      throw new Failure(
        'NOT_FOUND',
        `target ${target} has no good backup${database === undefined ? '' : ` of database "${database}"`}`,
      );
    return newest;
  }
  return oneMatching(backups, wanted, `target ${target}`);
}

function oneMatching(backups: readonly BackupView[], wanted: string, where: string): BackupView {
  if (wanted.length < LEAST_PREFIX)
    throw new Failure('BAD_INPUT', `"${wanted}" is too short: give at least ${LEAST_PREFIX} characters of the id`);
  const matching = backups.filter(({ backupId }) => backupId.startsWith(wanted) || backupId.endsWith(wanted));
  const [first] = matching;
  if (first === undefined) throw new Failure('NOT_FOUND', `${where} has no backup "${wanted}"`);
  if (matching.length > 1)
    throw new Failure('BAD_INPUT', `"${wanted}" fits ${matching.length} backups; give more of the id`);
  return first;
}

/** The id of a backup of any target; a whole id needs no list, so it also reaches what is too old for one. */
export async function backupIdOf(client: AdminClient, wanted: string): Promise<string> {
  if (uuidSchema.safeParse(wanted).success) return wanted;
  return oneMatching(await client.backups.query({ limit: MAX_LISTED }), wanted, 'the fleet').backupId;
}
