import { Failure } from '@lastgood/core';
import { type BackupView, type SelectedBackup, type TargetView, uuidSchema } from '@lastgood/protocol';
import type { AdminClient } from '../client.ts';
import { LEAST_PART } from '../format/ids.ts';
import { instantMs } from './input.ts';

const MAX_LISTED = 1000;
/** Longer than any id. */
const MAX_ID = 64;
/** Environment, host and target are words of at most 63 letters. */
const MAX_SELECTOR = 200;

/** A selector as it was typed. Throws BAD_INPUT for one that is longer than any name, before it is sent. */
export function checkedSelector(selector: string): string {
  if (selector.length > MAX_SELECTOR)
    throw new Failure('BAD_INPUT', `"${selector.slice(0, 40)}…" is too long for the name of a target`);
  return selector;
}

/** The part of a query that selects targets; empty without a selector. */
export const selectorInput = (selector: string | undefined): { target?: string } =>
  selector === undefined ? {} : { target: checkedSelector(selector) };

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

/** Which backup of a target a command names: its argument (`latest`, or a part of an id), or the instant of --at. */
export interface BackupChoice {
  readonly backup: string | undefined;
  readonly at: string | undefined;
}

function wantedBackup({ backup, at }: BackupChoice): Parameters<AdminClient['selectBackup']['query']>[0]['wanted'] {
  if (at !== undefined) {
    if (backup !== undefined) throw new Failure('BAD_INPUT', 'give either a backup or --at, not both');
    return { type: 'at', atMs: instantMs('--at', at) };
  }
  if (backup === undefined || backup === 'latest') return { type: 'latest' };
  if (backup.length < LEAST_PART)
    throw new Failure('BAD_INPUT', `"${backup}" is too short: give at least ${LEAST_PART} characters of the id`);
  return { type: 'id', part: backup.slice(0, MAX_ID) };
}

/** The backup of a target that was named. The control plane selects it. */
export async function oneBackup(
  client: AdminClient,
  target: string,
  choice: BackupChoice,
  purpose: 'verify' | 'restore',
  database?: string,
  prefer?: 'database' | 'server',
): Promise<SelectedBackup> {
  return await client.selectBackup.query({
    target,
    wanted: wantedBackup(choice),
    purpose,
    content: database ?? null,
    ...(prefer === undefined ? {} : { prefer }),
  });
}

/** The one entry whose id is `wanted`, or begins or ends with it. */
function oneMatching<T>(list: readonly T[], idOf: (entry: T) => string, wanted: string, what: string): T {
  if (wanted.length < LEAST_PART)
    throw new Failure('BAD_INPUT', `"${wanted}" is too short: give at least ${LEAST_PART} characters of the id`);
  const matching = list.filter((entry) => idOf(entry).startsWith(wanted) || idOf(entry).endsWith(wanted));
  const [first] = matching;
  if (first === undefined)
    throw new Failure('NOT_FOUND', `there is no ${what} with the id "${wanted.slice(0, 100)}"`, {
      remedy: `List them with \`lastgood ${what}s list\`.`,
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
