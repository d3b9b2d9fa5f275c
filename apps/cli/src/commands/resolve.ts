import { Failure } from '@lastgood/core';
import { type BackupView, type TargetView, uuidSchema } from '@lastgood/protocol';
import type { AdminClient } from '../client.ts';
import { LEAST_PART } from '../format/ids.ts';

const MAX_LISTED = 1000;
/** Environment, host and target are words of at most 63 letters. */
const MAX_SELECTOR = 200;

/** A selector as it was typed; one that can name nothing is refused before it is sent. */
export function checkedSelector(selector: string): string {
  if (selector.length > MAX_SELECTOR)
    throw new Failure('BAD_INPUT', `"${selector.slice(0, 40)}…" is too long for the name of a target`);
  return selector;
}

/** The one target that a selector names. */
export async function oneTarget(client: AdminClient, selector: string): Promise<TargetView> {
  const found = await client.targets.query({ target: checkedSelector(selector) });
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

/** The names of what a backup holds. */
export const databasesOf = ({ contents }: Pick<BackupView, 'contents'>): string[] => contents.map(({ name }) => name);

export interface ChosenBackup {
  readonly backup: BackupView;
  /** The newest one, when `latest` passed it over because it is not good. */
  readonly passedOver: BackupView | undefined;
}

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
): Promise<ChosenBackup> {
  const backups = await client.backups.query({ target, limit: MAX_LISTED });
  if (wanted === 'latest') {
    const newestFirst = backups
      .toSorted((a, b) => b.sequence - a.sequence)
      .filter((backup) => database === undefined || databasesOf(backup).includes(database))
      .filter((backup) => backup.state !== 'missing');
    const fits = ({ state, restorable }: BackupView): boolean =>
      restorable.ok && (state === 'good' || (purpose === 'check' && state === 'suspect'));
    const newest = newestFirst.find(fits);
    if (newest === undefined)
      throw new Failure(
        'NOT_FOUND',
        `target ${target} has no good backup${database === undefined ? '' : ` of database "${database}"`}`,
      );
    if (purpose === 'restore' && database === undefined) refuseSeveral(target, newest, newestFirst);
    const [first] = newestFirst;
    return { backup: newest, passedOver: first === newest ? undefined : first };
  }
  const backup = oneMatching(backups, (candidate) => candidate.backupId, wanted, `backup of target ${target}`);
  return { backup, passedOver: undefined };
}

/**
 * "The latest" means another database after each backup where they are backed up one by one: which one is not for us to guess,
 * unless it is the one that the target is named after.
 */
function refuseSeveral(target: string, newest: BackupView, backups: readonly BackupView[]): void {
  const names = databasesOf(newest);
  if (names.length === 1 && names[0] === newest.target) return;
  const good = backups.filter(({ state, restorable }) => state === 'good' && restorable.ok);
  const databases = [...new Set(good.flatMap(databasesOf))].toSorted();
  if (databases.length > 1)
    throw new Failure(
      'BAD_INPUT',
      `the backups of target ${target} hold ${databases.length} databases; name one with --database: ${databases.join(', ')}`,
    );
}

/** The one thing whose id is `wanted`, or begins or ends so. */
function oneMatching<T>(list: readonly T[], idOf: (entry: T) => string, wanted: string, what: string): T {
  if (wanted.length < LEAST_PART)
    throw new Failure('BAD_INPUT', `"${wanted}" is too short: give at least ${LEAST_PART} characters of the id`);
  const matching = list.filter((entry) => idOf(entry).startsWith(wanted) || idOf(entry).endsWith(wanted));
  const [first] = matching;
  if (first === undefined)
    throw new Failure('NOT_FOUND', `there is no ${what} with the id "${wanted.slice(0, 100)}"`, {
      remedy: `List them with \`lastgood ${what.split(' ')[0]}s\`.`,
    });
  if (matching.length > 1)
    throw new Failure('BAD_INPUT', `"${wanted}" fits ${matching.length} of them; give more of the id`);
  return first;
}

const isWhole = (wanted: string): boolean => uuidSchema.safeParse(wanted).success;

/** The id of a backup of any target; a whole id needs no list, so it also reaches what is too old for one. */
export async function backupIdOf(client: AdminClient, wanted: string): Promise<string> {
  if (isWhole(wanted)) return wanted;
  const list = await client.backups.query({ limit: MAX_LISTED });
  return oneMatching(list, (backup) => backup.backupId, wanted, 'backup').backupId;
}

/** The id of a job, by the whole of it or a part. */
export async function jobIdOf(client: AdminClient, wanted: string): Promise<string> {
  if (isWhole(wanted)) return wanted;
  const list = await client.jobs.query({ limit: MAX_LISTED });
  return oneMatching(list, (job) => job.jobId, wanted, 'job').jobId;
}

/** The id of a token, by the whole of it or a part. */
export async function tokenIdOf(client: AdminClient, wanted: string): Promise<string> {
  if (isWhole(wanted)) return wanted;
  return oneMatching(await client.tokens.query({}), (token) => token.id, wanted, 'token').id;
}
