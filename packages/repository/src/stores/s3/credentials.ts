import { readFile, stat } from 'node:fs/promises';
import { Failure } from '@lastgood/core';

/** Keys are read again after this time, so that a program that renews a session token needs no restart of the agent. */
const READ_AGAIN_MS = 60_000;
const MAX_FILE_BYTES = 64 * 1024;
const PROFILE = 'default';

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  readonly expiration: Date;
}

/** The keys of a section `[default]`; lines are `name = value`. */
function parseProfile(text: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  let section: string | undefined;
  for (const line of text.split(/\r?\n/)) {
    const header = /^\s*\[(.+)\]\s*$/.exec(line)?.[1];
    const setting = /^\s*([a-z_]+)\s*=\s*(\S+)\s*$/.exec(line);
    if (header !== undefined) section = header.trim();
    else if (section === PROFILE && setting !== null) found.set(setting[1] ?? '', setting[2] ?? '');
  }
  return found;
}

/**
 * Reads a credentials file in the format of the AWS tools. Throws CONFIG_INVALID when it has no keys, and DATA_FOLDER_UNSAFE when other
 * users can read it. `now` is in ms since the epoch.
 */
export async function readCredentialsFile(path: string, now: number): Promise<S3Credentials> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined || !found.isFile() || found.size > MAX_FILE_BYTES)
    throw new Failure(
      'CONFIG_INVALID',
      `the credentials file ${path} is not a file of at most ${MAX_FILE_BYTES} bytes`,
    );
  if ((found.mode & 0o077) !== 0)
    throw new Failure('DATA_FOLDER_UNSAFE', `the credentials file ${path} can be read by others`);
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new Failure('CONFIG_INVALID', `the credentials file ${path} cannot be read`, { cause: error });
  });
  const settings = parseProfile(text);
  const accessKeyId = settings.get('aws_access_key_id');
  const secretAccessKey = settings.get('aws_secret_access_key');
  if (accessKeyId === undefined || secretAccessKey === undefined)
    throw new Failure(
      'CONFIG_INVALID',
      `the credentials file ${path} has no aws_access_key_id and aws_secret_access_key in a section [${PROFILE}]`,
    );
  const sessionToken = settings.get('aws_session_token');
  return {
    accessKeyId,
    secretAccessKey,
    ...(sessionToken === undefined ? {} : { sessionToken }),
    expiration: new Date(now + READ_AGAIN_MS),
  };
}
