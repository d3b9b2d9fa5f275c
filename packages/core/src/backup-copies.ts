import type { BackupCopy, BackupSummary } from '@lastgood/protocol';

const copyOf = ({ repository, state, verified }: BackupSummary): BackupCopy => ({
  repository,
  state: state === 'bad' ? 'bad' : 'good',
  verified,
});

/**
 * One summary of each backup from the summaries of several repositories, in the order of the agent file, oldest first. It is that of the
 * first repository in which the backup is not bad; the others are its copies.
 */
export function mergeCopies(perRepository: readonly (readonly BackupSummary[])[]): BackupSummary[] {
  const holders = Map.groupBy(perRepository.flat(), ({ backupId }) => backupId);
  return [...holders.values()]
    .flatMap((found): BackupSummary[] => {
      const chosen = found.find(({ state }) => state !== 'bad') ?? found[0];
      if (chosen === undefined) return [];
      const copies = found.filter((each) => each !== chosen).map(copyOf);
      return [{ ...chosen, copies }];
    })
    .sort((a, b) => a.sequence - b.sequence);
}

/** The repositories that hold a backup in which it is not bad. */
export const goodCopiesOf = ({ repository, state, copies }: BackupSummary): string[] => [
  ...(state === 'bad' || state === 'missing' ? [] : [repository]),
  ...copies.filter((copy) => copy.state === 'good').map((copy) => copy.repository),
];
