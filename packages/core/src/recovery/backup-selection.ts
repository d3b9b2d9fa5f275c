import type { BackupSummary } from '@lastgood/protocol';
import { Failure, unreachable } from '../failure.ts';

/** Which backup is wanted: the newest, the newest with a recovery point at or before an instant, or one by (part of) its id. */
export type WantedBackup =
  | { readonly type: 'latest' }
  | { readonly type: 'at'; readonly atMs: number }
  | { readonly type: 'id'; readonly part: string };
export type SelectionPurpose = 'verify' | 'restore';
export type BackupSelection<B> =
  | {
      readonly type: 'selected';
      readonly backup: B;
      /** The newest matching backup, when it was skipped because it is not eligible. */
      readonly passedOver: B | null;
    }
  | { readonly type: 'none' }
  /** The part matches several ids. */
  | { readonly type: 'ambiguous'; readonly backupIds: readonly string[] }
  /** The good backups have several contents, and it is unclear which one is meant. */
  | { readonly type: 'several-contents'; readonly names: readonly string[] };

type Candidate = Pick<
  BackupSummary,
  'backupId' | 'target' | 'sequence' | 'state' | 'contents' | 'restorable' | 'recoveryPoint' | 'restoreUnit'
>;

const holds = (backup: Candidate, content: string): boolean => backup.contents.some(({ name }) => name === content);

/**
 * A suspect backup wants checking, so a verification takes it; it may lack what a restore is for, so a restore passes it over
 * (decision 0008). What this version cannot restore or decode is passed over by both.
 */
function isEligible({ state, restorable }: Candidate, purpose: SelectionPurpose): boolean {
  return restorable.ok && (state === 'good' || (state === 'suspect' && purpose === 'verify'));
}

/** The contents among which a restore would have to guess; empty when it is clear which one is meant. */
function unclearContents(newest: Candidate, good: readonly Candidate[]): string[] {
  const [only, ...others] = newest.contents;
  // A target is often named after its one database.
  if (others.length === 0 && only?.name === newest.target) return [];
  const names = [...new Set(good.flatMap(({ contents }) => contents.map(({ name }) => name)))].sort();
  return names.length > 1 ? names : [];
}

/**
 * Selects a backup of one target. With `content`, only backups that contain it. A restore of `latest` or `at` without `content` is
 * refused when the good backups have several contents, unless the selected one has only the content that the target is named after.
 */
export function selectBackup<B extends Candidate>(
  backups: readonly B[],
  wanted: WantedBackup,
  purpose: SelectionPurpose,
  content: string | null,
  prefer: BackupQuery['prefer'] = null,
): BackupSelection<B> {
  if (wanted.type === 'id') {
    const matching = backups.filter(
      ({ backupId }) => backupId.startsWith(wanted.part) || backupId.endsWith(wanted.part),
    );
    const [first, ...others] = matching;
    if (first === undefined) return { type: 'none' };
    if (others.length > 0) return { type: 'ambiguous', backupIds: matching.map(({ backupId }) => backupId) };
    return { type: 'selected', backup: first, passedOver: null };
  }
  const ofUnit = backups.filter((backup) => backup.restoreUnit === prefer && isEligible(backup, purpose));
  const newestFirst = backups
    .filter(({ state }) => state !== 'missing')
    .filter(({ restoreUnit }) => ofUnit.length === 0 || restoreUnit === prefer)
    .filter((backup) => content === null || holds(backup, content))
    .filter(({ recoveryPoint }) => wanted.type === 'latest' || Date.parse(recoveryPoint) <= wanted.atMs)
    .toSorted((a, b) => b.sequence - a.sequence);
  const selected = newestFirst.find((backup) => isEligible(backup, purpose));
  if (selected === undefined) return { type: 'none' };
  if (purpose === 'restore' && content === null && prefer !== 'server') {
    const names = unclearContents(
      selected,
      newestFirst.filter((backup) => isEligible(backup, purpose)),
    );
    if (names.length > 0) return { type: 'several-contents', names };
  }
  const [newest] = newestFirst;
  return {
    type: 'selected',
    backup: selected,
    passedOver: newest === undefined || newest === selected ? null : newest,
  };
}

export interface BackupQuery {
  /** The target's name as it was typed, for messages. */
  readonly target: string;
  readonly wanted: WantedBackup;
  readonly purpose: SelectionPurpose;
  readonly content: string | null;
  /** What a restore is to bring back. Where there are backups that do, others are passed over. */
  readonly prefer?: 'database' | 'server' | null | undefined;
}

function notFound({ target, wanted, content }: BackupQuery): Failure {
  const remedy = `List them with \`lastgood backups list ${target}\`.`;
  if (wanted.type === 'id') return new Failure('NOT_FOUND', `target ${target} has no backup with this id`, { remedy });
  const of = content === null ? '' : ` of database "${content}"`;
  const until = wanted.type === 'at' ? ` at or before ${new Date(wanted.atMs).toISOString()}` : '';
  return new Failure('NOT_FOUND', `target ${target} has no good backup${of}${until}`, { remedy });
}

/** The selected backup. Throws NOT_FOUND when none fits, and BAD_INPUT when it is unclear which one is meant. */
export function requireBackup<B extends Candidate>(
  backups: readonly B[],
  query: BackupQuery,
): { backup: B; passedOver: B | null } {
  const { target, wanted, purpose, content, prefer } = query;
  const selection = selectBackup(backups, wanted, purpose, content, prefer);
  switch (selection.type) {
    case 'selected':
      return { backup: selection.backup, passedOver: selection.passedOver };
    case 'none':
      throw notFound(query);
    case 'ambiguous':
      throw new Failure('BAD_INPUT', `several backups of target ${target} have this id`, {
        remedy: `Give more of the id: ${selection.backupIds.slice(0, 5).join(', ')}.`,
      });
    case 'several-contents':
      throw new Failure(
        'BAD_INPUT',
        `the backups of target ${target} hold ${selection.names.length} databases: ${selection.names.join(', ')}`,
        { remedy: 'Name one of them with --database.' },
      );
    default:
      return unreachable(selection);
  }
}
