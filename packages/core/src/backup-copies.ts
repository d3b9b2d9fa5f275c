import type { BackupCopy, BackupSummary } from '@lastgood/protocol';

const isUsable = ({ state, restorable }: BackupSummary): boolean => state !== 'bad' && restorable.ok;
const copyOf = (summary: BackupSummary): BackupCopy => ({
  repository: summary.repository,
  state: isUsable(summary) ? 'good' : 'bad',
  verified: summary.verified,
});

/**
 * One summary of each backup from the summaries of several repositories, in the order of the agent file, oldest first. It is that of the
 * first repository in which the backup is not bad and can be restored; the others are its copies.
 */
export function mergeCopies(perRepository: readonly (readonly BackupSummary[])[]): BackupSummary[] {
  const holders = Map.groupBy(perRepository.flat(), ({ backupId }) => backupId);
  return [...holders.values()]
    .flatMap((found): BackupSummary[] => {
      const chosen = found.find(isUsable) ?? found.find(({ state }) => state !== 'bad') ?? found[0];
      if (chosen === undefined) return [];
      const copies = found.filter((each) => each !== chosen).map(copyOf);
      return [{ ...chosen, copies }];
    })
    .sort((a, b) => a.sequence - b.sequence);
}

/** The repositories that hold a backup in which it is not bad. */
export const goodCopiesOf = ({ repository, state, restorable, copies }: BackupSummary): string[] => [
  ...(state === 'bad' || state === 'missing' || !restorable.ok ? [] : [repository]),
  ...copies.filter((copy) => copy.state === 'good').map((copy) => copy.repository),
];
