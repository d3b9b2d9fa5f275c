import { readFile, stat } from 'node:fs/promises';
import { Failure } from '@lastgood/core';
import { Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';

const MAX_FILE_BYTES = 64 * 1024;
const IDENTITY = /^AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]+$/;

/** The keys of one repository. What is encrypted to the recipients is readable with an identity only. */
export interface RepositoryKeys {
  /** Public keys (`age1...`). When there are none, objects are not encrypted. */
  readonly recipients: readonly string[];
  /** Returns the private keys of this host. Throws IDENTITY_NEEDED when it has none. */
  identities(): Promise<readonly string[]>;
}

/** A repository that is not encrypted. */
export const NO_KEYS: RepositoryKeys = {
  recipients: [],
  identities: async () => {
    throw new Failure('IDENTITY_NEEDED', 'the backup is encrypted, and this host has no identity of its repository');
  },
};

/** True for the public key of an age identity. */
export function isRecipient(text: string): boolean {
  try {
    new Encrypter().addRecipient(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Reads the identities of a file that `age-keygen` or `lastgood keys new` wrote. Throws CONFIG_INVALID when it holds none, and
 * DATA_FOLDER_UNSAFE when other users can read it.
 */
export async function readIdentityFile(path: string): Promise<readonly string[]> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined || !found.isFile() || found.size > MAX_FILE_BYTES)
    throw new Failure('CONFIG_INVALID', `the identity file ${path} is not a file of at most ${MAX_FILE_BYTES} bytes`);
  if ((found.mode & 0o077) !== 0)
    throw new Failure('DATA_FOLDER_UNSAFE', `the identity file ${path} can be read by others`);
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new Failure('CONFIG_INVALID', `the identity file ${path} cannot be read`, { cause: error });
  });
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const identities = lines.filter((line) => line !== '' && !line.startsWith('#'));
  if (identities.length === 0 || !identities.every((line) => IDENTITY.test(line)))
    throw new Failure(
      'CONFIG_INVALID',
      `the identity file ${path} must hold lines of AGE-SECRET-KEY-1... and comments only`,
    );
  return identities;
}

/** The keys of an agent file. The identity file is read when a backup has to be decrypted, and never before. */
export function keysOf(encryption: {
  readonly recipients: readonly string[];
  readonly identityFile?: string | undefined;
}): RepositoryKeys {
  const { recipients, identityFile } = encryption;
  return {
    recipients,
    identities: () => (identityFile === undefined ? NO_KEYS.identities() : readIdentityFile(identityFile)),
  };
}

/** Throws IDENTITY_NEEDED unless one of the identities belongs to one of the recipients. */
export async function assertDecryptable(identities: readonly string[], recipients: readonly string[]): Promise<void> {
  for (const identity of identities) if (recipients.includes(await recipientOf(identity))) return;
  throw new Failure(
    'IDENTITY_NEEDED',
    `no identity of this host belongs to a recipient of the backup: ${recipients.join(', ')}`,
  );
}

async function recipientOf(identity: string): Promise<string> {
  return await identityToRecipient(identity).catch((error: unknown) => {
    throw new Failure('CONFIG_INVALID', 'the identity file holds a damaged identity', { cause: error });
  });
}

/** Creates an identity and its recipient. */
export async function createIdentity(): Promise<{ readonly identity: string; readonly recipient: string }> {
  const identity = await generateX25519Identity();
  return { identity, recipient: await identityToRecipient(identity) };
}
