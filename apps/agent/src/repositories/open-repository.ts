import { Failure, type Repository } from '@lastgood/core';
import { writeFileDurably } from '@lastgood/host';
import type { AgentConfig } from '../config/agent-config.ts';
import type { Journal } from '../journal/journal.ts';
import { createRepository, locationOf, openExistingRepository, readRepositoryUser } from './repository-access.ts';
import { checkKnown, noteFileOf, readNote } from './repository-note.ts';

export interface OpenOptions {
  /** Backups that no trusted key has signed can be restored. */
  readonly acceptUnsigned?: boolean | undefined;
}

/**
 * Opens a repository of the agent file, by name. It is created once; afterwards a missing marker means that its disk is not there
 * (B5), never that it may be created again. Its id is kept twice, in the journal and in a file of its own.
 */
export async function openRepository(
  config: Pick<AgentConfig, 'dataDir' | 'environment' | 'host' | 'repositories' | 'trust'>,
  name: string,
  journal: Pick<Journal, 'note' | 'remember'>,
  { acceptUnsigned = false }: OpenOptions = {},
): Promise<Repository> {
  const options = config.repositories[name];
  if (options === undefined) throw new Failure('CONFIG_INVALID', `no repository is named "${name}"`);
  const location = locationOf(options);
  const user = await readRepositoryUser(config);
  const key = `repository:${name}:${location}`;
  const file = noteFileOf(config, name);
  const inJournal = journal.note(key);
  const inFile =
    inJournal === undefined ? await readNote(file, location) : await readNote(file, location).catch(() => undefined);
  const known = inJournal ?? inFile;
  const repository =
    known === undefined
      ? await createRepository(options, user)
      : await openExistingRepository(options, acceptUnsigned ? { ...user, trusted: null } : user);
  await repository.check();
  checkKnown(location, known, repository);
  if (inFile === undefined) await writeFileDurably(file, JSON.stringify({ location, repositoryId: repository.id }));
  if (inJournal === undefined) journal.remember(key, repository.id);
  return repository;
}
