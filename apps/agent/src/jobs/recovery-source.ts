import { type BrokenBackup, Failure, type RecoverySource, type Repository, type StoredBackup } from '@lastgood/core';
import type { Target } from './targets.ts';

interface Listed {
  readonly name: string;
  readonly repository: Repository;
  readonly backups: readonly StoredBackup[];
  readonly broken: readonly BrokenBackup[];
}

/** The backups of a target in all its repositories. */
export interface TargetBackups extends RecoverySource {
  /** The repository that a backup is read from. */
  readonly holderOf: (backupId: string) => string | undefined;
}

/**
 * The backups and log streams of a target, for a restore. A backup is read from the first repository, in the order of the agent file, that
 * can be read and in which it is not bad and can be restored. Throws the failure of the first repository when none can be read.
 */
export async function recoverySource(
  target: Target,
  options: Parameters<Target['repository']>[0],
): Promise<TargetBackups> {
  const repositories = [
    { name: target.config.repository, open: () => target.repository(options) },
    ...target.copies.map(({ name, open }) => ({ name, open: () => open(options) })),
  ];
  const listed: Listed[] = [];
  let first: Failure | undefined;
  for (const { name, open } of repositories)
    try {
      const repository = await open();
      listed.push({ name, repository, ...(await repository.list(target.ref)) });
    } catch (error) {
      if (!(error instanceof Failure) || repositories.length === 1) throw error;
      first ??= error;
    }
  if (listed.length === 0 && first !== undefined) throw first;
  const holders = holdersOf(listed);
  const repositoryOf = (backupId: string): Repository | undefined =>
    (holders.get(backupId)?.listed ?? listed[0])?.repository;
  const backups = [...holders.values()]
    .map(({ backup }) => backup)
    .sort((a, b) => a.manifest.sequence - b.manifest.sequence);
  const broken = listed.flatMap((each) => each.broken).filter(({ backupId }) => !holders.has(backupId));
  return {
    holderOf: (backupId) => holders.get(backupId)?.listed.name,
    list: async () => ({ backups, broken }),
    open: async (backupId) => {
      const repository = repositoryOf(backupId);
      if (repository === undefined) throw new Failure('NOT_FOUND', `there is no backup ${backupId}`);
      return { ...(await repository.open(target.ref, backupId)), log: (streamId) => logOf(listed, target, streamId) };
    },
    log: (streamId) => logOf(listed, target, streamId),
  };
}

const isUsable = ({ verified, restorable }: StoredBackup): boolean => verified?.passed !== false && restorable.ok;

function holdersOf(listed: readonly Listed[]): Map<string, { readonly listed: Listed; readonly backup: StoredBackup }> {
  const holders = new Map<string, { readonly listed: Listed; readonly backup: StoredBackup }>();
  for (const each of listed)
    for (const backup of each.backups) {
      const { backupId } = backup.manifest;
      const known = holders.get(backupId)?.backup;
      if (known === undefined || (!isUsable(known) && isUsable(backup)))
        holders.set(backupId, { listed: each, backup });
    }
  return holders;
}

/** The segments of all repositories. Each is read from the first one that has it. */
function logOf(listed: readonly Listed[], { ref }: Target, streamId: string): ReturnType<RecoverySource['log']> {
  const logs = listed.map(({ repository }) => repository.log(ref, streamId));
  return {
    list: async (range) => {
      const segments = await Promise.all(logs.map((log) => log.list(range)));
      return [...new Set(segments.flat())].sort();
    },
    read: async (segment, signal) => {
      let first: unknown;
      for (const log of logs)
        try {
          return await log.read(segment, signal);
        } catch (error) {
          signal.throwIfAborted();
          first ??= error;
        }
      throw first ?? new Failure('NOT_FOUND', `stream ${streamId} has no segment ${segment}`);
    },
  };
}
