import { readFile, stat } from 'node:fs/promises';
import { Failure } from '@lastgood/core';

const LONGEST = 4096;

/**
 * The password in a file, without the line end behind it. Throws CONFIG_INVALID when the file cannot hold one, and DATA_FOLDER_UNSAFE
 * when other users can read it.
 */
export async function readPassword(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) throw new Failure('CONFIG_INVALID', `the password file ${path} does not exist`);
  if (!found.isFile() || found.size > LONGEST)
    throw new Failure('CONFIG_INVALID', `the password file ${path} is not a file of at most ${LONGEST} bytes`);
  if ((found.mode & 0o077) !== 0)
    throw new Failure('DATA_FOLDER_UNSAFE', `the password file ${path} can be read by others`);
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new Failure('CONFIG_INVALID', `the password file ${path} cannot be read`, { cause: error });
  });
  const password = text.replace(/\r?\n$/, '');
  if (password === '' || /[\r\n\0]/.test(password))
    throw new Failure('CONFIG_INVALID', `the password file ${path} must hold one line`);
  return password;
}
