import { Failure, type Repository } from '@lastgood/core';
import { supportedMethods } from '@lastgood/engines';
import { writeFileDurably } from '@lastgood/host';
import { createFolderRepository, openFolderRepository } from '@lastgood/repository';
import type { AgentConfig } from '../config/agent-config.ts';
import { readIdentity } from '../config/identity.ts';
import type { Journal } from '../journal/journal.ts';
import { checkKnown, noteFileOf, readNote } from './repository-note.ts';

/**
 * Opens a repository of the agent file, by name. It is created once; afterwards a missing marker means that its disk is not there
 * (B5), never that it may be created again. Its id is kept twice, in the journal and in a file of its own.
 */
export async function openRepository(
  config: Pick<AgentConfig, 'dataDir' | 'environment' | 'host' | 'repositories'>,
  name: string,
  journal: Pick<Journal, 'note' | 'remember'>,
): Promise<Repository> {
  const options = config.repositories[name];
  if (options === undefined) throw new Failure('CONFIG_INVALID', `no repository is named "${name}"`);
  const { path, mustBeMount } = options;
  const { installId } = await readIdentity(config);
  const location = { path, mustBeMount, writer: installId, understood: supportedMethods };
  const key = `repository:${name}:${path}`;
  const file = noteFileOf(config, name);
  const inJournal = journal.note(key);
  const inFile =
    inJournal === undefined ? await readNote(file, path) : await readNote(file, path).catch(() => undefined);
  const known = inJournal ?? inFile;
  const repository =
    known === undefined ? await createFolderRepository(location) : await openFolderRepository(location);
  await repository.check();
  checkKnown(path, known, repository);
  if (inFile === undefined) await writeFileDurably(file, JSON.stringify({ path, repositoryId: repository.id }));
  if (inJournal === undefined) journal.remember(key, repository.id);
  return repository;
}
