import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure, type Repository } from '@lastgood/core';
import { uuidSchema } from '@lastgood/protocol';
import { z } from 'zod';
import type { AgentConfig } from '../config/agent-config.ts';

const noteSchema = z.object({ path: z.string(), repositoryId: uuidSchema });

/** The repository that a note names. It is kept beside the journal: a lost journal must not make a mount point a new repository. */
export async function readNote(file: string, path: string): Promise<string | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new Failure('DATA_FOLDER_UNSAFE', `${file} cannot be read`, { cause: error });
  }
  try {
    const note = noteSchema.parse(JSON.parse(text));
    return note.path === path ? note.repositoryId : undefined;
  } catch (error) {
    throw new Failure('DATA_FOLDER_UNSAFE', `${file} does not name the repository in ${path}`, {
      cause: error,
      remedy: `Check that the disk of ${path} is mounted, then remove ${file}.`,
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
  return await readNote(noteFileOf(config, name), config.repositories[name]?.path ?? '');
}

/** Throws REPOSITORY_NOT_MOUNTED when the repository is not the one that was used before. */
export function checkKnown(path: string, known: string | undefined, repository: Pick<Repository, 'id'>): void {
  if (known === undefined || known === repository.id) return;
  throw new Failure(
    'REPOSITORY_NOT_MOUNTED',
    `${path} holds another repository (${repository.id}) than before (${known})`,
  );
}
