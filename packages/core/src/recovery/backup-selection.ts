import type { BackupSummary } from '@lastgood/protocol';

/** Which backup somebody asks for: the newest, the newest whose recovery point is at or before an instant, or one by (part of) its id. */
export type WantedBackup =
  | { readonly type: 'latest' }
  | { readonly type: 'at'; readonly atMs: number }
  | { readonly type: 'id'; readonly part: string };
export type SelectionPurpose = 'verify' | 'restore';
export type BackupSelection<B> =
  | {
      readonly type: 'selected';
      readonly backup: B;
      /** The newest backup in question, when it was passed over because it is not good. */
      readonly passedOver: B | null;
    }
  | { readonly type: 'none' }
  /** The part fits several ids. */
  | { readonly type: 'ambiguous'; readonly backupIds: readonly string[] }
  /** The good backups hold several contents, and it is unclear which one is meant. */
  | { readonly type: 'several-contents'; readonly names: readonly string[] };

type Candidate = Pick<
  BackupSummary,
  'backupId' | 'target' | 'sequence' | 'state' | 'contents' | 'restorable' | 'recoveryPoint'
>;

const holds = (backup: Candidate, content: string): boolean => backup.contents.some(({ name }) => name === content);

/**
 * A suspect backup wants checking, so a verification takes it; it may lack what a restore is for, so a restore passes it over
 * (decision 0008). What this version cannot restore is passed over as well.
 */
function isEligible({ state, restorable }: Candidate, purpose: SelectionPurpose): boolean {
  if (state === 'good') return purpose === 'verify' || restorable.ok;
  return state === 'suspect' && purpose === 'verify';
}

/** The contents among which a restore of `newest` would have to guess; empty when it is clear which one is meant. */
function unclearContents(newest: Candidate, good: readonly Candidate[]): string[] {
  const [only, ...others] = newest.contents;
  // A target is often named after its one database.
  if (others.length === 0 && only?.name === newest.target) return [];
  const names = [...new Set(good.flatMap(({ contents }) => contents.map(({ name }) => name)))].sort();
  return names.length > 1 ? names : [];
}

/**
 * Selects a backup of one target. `content`: only backups that hold it. A restore of `latest` or `at` without `content` is refused
 * when the good backups hold several contents, unless the selected one holds only the one that the target is named after.
 */
export function selectBackup<B extends Candidate>(
  backups: readonly B[],
  wanted: WantedBackup,
  purpose: SelectionPurpose,
  content: string | null,
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
  const newestFirst = backups
    .filter(({ state }) => state !== 'missing')
    .filter((backup) => content === null || holds(backup, content))
    .filter(({ recoveryPoint }) => wanted.type === 'latest' || Date.parse(recoveryPoint) <= wanted.atMs)
    .toSorted((a, b) => b.sequence - a.sequence);
  const selected = newestFirst.find((backup) => isEligible(backup, purpose));
  if (selected === undefined) return { type: 'none' };
  if (purpose === 'restore' && content === null) {
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
