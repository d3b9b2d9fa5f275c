import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure, type Repository } from '@lastgood/core';
import { uuidSchema } from '@lastgood/protocol';
import { z } from 'zod';
import type { AgentConfig } from '../config/agent-config.ts';
import { locationOf } from './repository-access.ts';

const noteSchema = z.object({ location: z.string(), repositoryId: uuidSchema });

/** The repository that a note names. It is kept beside the journal: a lost journal must not make a mount point a new repository. */
export async function readNote(file: string, location: string): Promise<string | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new Failure('DATA_FOLDER_UNSAFE', `${file} cannot be read`, { cause: error });
  }
  try {
    const note = noteSchema.parse(JSON.parse(text));
    return note.location === location ? note.repositoryId : undefined;
  } catch (error) {
    throw new Failure('DATA_FOLDER_UNSAFE', `${file} does not name the repository in ${location}`, {
      cause: error,
      remedy: `Check that ${location} is reachable, and mounted if it is a disk, then remove ${file}.`,
    });
  }
}

export const noteFileOf = (config: Pick<AgentConfig, 'dataDir'>, name: string): string =>
  join(config.dataDir, `repository-${name}.json`);

/** The id of the repository that this host has used under a name of its agent file; undefined when there is none yet. */
export async function knownRepository(
  config: Pick<AgentConfig, 'dataDir' | 'repositories'>,
  name: string,
): Promise<string | undefined> {
  const repository = config.repositories[name];
  return repository === undefined ? undefined : await readNote(noteFileOf(config, name), locationOf(repository));
}

/** Throws REPOSITORY_NOT_MOUNTED when the repository is not the one that was used before. */
export function checkKnown(location: string, known: string | undefined, repository: Pick<Repository, 'id'>): void {
  if (known === undefined || known === repository.id) return;
  throw new Failure(
    'REPOSITORY_NOT_MOUNTED',
    `${location} holds another repository (${repository.id}) than before (${known})`,
  );
}
