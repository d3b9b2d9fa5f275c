import { readFile, stat } from 'node:fs/promises';
import { Failure } from '@lastgood/core';

const MAX_BYTES = 1024 * 1024;

/** Reads a file that the notification file names; CONFIG_INVALID when that is not possible. */
export async function readNamedFile(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > MAX_BYTES) throw new Failure('CONFIG_INVALID', `${path} has more than ${MAX_BYTES} bytes`);
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Failure || !(error instanceof Error && 'code' in error)) throw error;
    throw new Failure('CONFIG_INVALID', `cannot read ${path}: ${String(error.code)}`, {
      cause: error,
      remedy: 'Create the file, and let the user that runs the control plane read it.',
    });
  }
}

/**
 * The lines of a file with a secret, without white space around them and without empty ones. Read at each use, so that a new secret needs
 * no restart. Errors name the file, never its content.
 */
export async function readSecretLines(path: string): Promise<readonly [string, ...string[]]> {
  const text = await readNamedFile(path);
  const { mode } = await stat(path);
  if ((mode & 0o007) !== 0)
    throw new Failure('DATA_FOLDER_UNSAFE', `${path} is accessible to other users`, {
      remedy: `Remove the rights of others: chmod o-rwx ${path}`,
    });
  const [first, ...others] = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  if (first === undefined) throw new Failure('CONFIG_INVALID', `${path} is empty`);
  return [first, ...others];
}
