import { readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import type { PostgresConnection } from './connection-schema.ts';

const FIELD = '((?:\\\\.|[^\\\\:])*)';
/** Host, port, database and user end at a colon that no backslash stands before; the password is all of the rest. */
const LINE = new RegExp(`^${FIELD}:${FIELD}:${FIELD}:${FIELD}:(.*)$`, 's');
const unescaped = (field: string): string => field.replace(/\\(.)/gs, '$1');

/** The password that a file in libpq's format names for a connection, read as libpq reads it; undefined when it names none. */
export function passwordIn(
  file: string,
  wanted: {
    readonly hosts: readonly string[];
    readonly port: number;
    readonly database: string;
    readonly user: string;
  },
): string | undefined {
  const { hosts, port, database, user } = wanted;
  const wants = [hosts, [String(port)], [database], [user]];
  for (const line of file.split('\n')) {
    if (line.startsWith('#')) continue;
    const [, ...fields] = LINE.exec(line.replace(/\r+$/, '')) ?? [];
    const password = fields.pop();
    if (password === undefined) continue;
    const fits = fields.every((field, index) => field === '*' || wants[index]?.includes(unescaped(field)) === true);
    if (fits) return unescaped(password);
  }
  return undefined;
}

/**
 * The password for one connection; undefined when the file has none for it. Without a passfile in the agent file it is the one in the
 * home folder, as for the tools. Refuses a file of ours that others can read (B16).
 */
export async function passwordFrom(connection: PostgresConnection, database: string): Promise<string | undefined> {
  const path = connection.passfile ?? join(homedir(), '.pgpass');
  const found = await stat(path).catch(() => undefined);
  const open = found !== undefined && (found.mode & 0o077) !== 0;
  if (connection.passfile === undefined && (found?.isFile() !== true || open)) return undefined;
  if (found === undefined)
    throw new Failure('CONFIG_INVALID', `the passfile ${path} does not exist`, {
      remedy: 'Create the file (mode 0600), or correct `passfile` of the target in the agent file.',
    });
  if (open)
    throw new Failure('DATA_FOLDER_UNSAFE', `the passfile ${path} can be read by other users`, {
      remedy: `Run chmod 600 ${path} on the host.`,
    });
  const hosts = connection.host.startsWith('/') ? [connection.host, 'localhost'] : [connection.host];
  const { port, user } = connection;
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new Failure('CONFIG_INVALID', `the passfile ${path} cannot be read (${error.code})`, {
      remedy: 'Give the file to the user that runs the agent, with mode 0600.',
    });
  });
  return passwordIn(text, { hosts, port, database, user });
}
