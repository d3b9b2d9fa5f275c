import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { Bug, type Clock, Failure, unreachable } from '@lastgood/core';
import { checkPrivateToBe, LOST_AND_FOUND } from '@lastgood/host';
import { assertDecryptable, checkMount, readIdentityFile } from '@lastgood/repository';
import type { AgentConfig } from '../config/agent-config.ts';
import type { RepositoryConfig } from '../config/repository-config.ts';
import { locationOf, openExistingRepository, s3StoreOf } from './repository-access.ts';
import { checkKnown, knownRepository } from './repository-note.ts';

type Folder = Extract<RepositoryConfig, { type: 'folder' }>;
type Bucket = Extract<RepositoryConfig, { type: 's3' }>;

/** Requests are refused from 15 minutes on; an age that is off by a minute is worth a correction. */
const CLOCK_TOLERANCE_MS = 60_000;

/** Checks a repository of the agent file and describes it. Throws the first failure. Writes to a bucket, and removes what it wrote. */
export async function checkRepository(config: AgentConfig, name: string, clock: Clock): Promise<string> {
  const repository = config.repositories[name];
  if (repository === undefined) throw new Bug(`no repository ${name}`);
  const keys = await describeKeys(repository);
  const known = await knownRepository(config, name);
  const isNew = (await isEmpty(repository, clock)) && known === undefined;
  const location = locationOf(repository);
  if (isNew) return `${location} becomes a repository with the first backup${keys}`;
  const opened = await openExistingRepository(repository);
  checkKnown(location, known, opened);
  return `${location} is repository ${opened.id}${keys}`;
}

/** Whether the medium is usable and holds nothing. Throws what is wrong with it. */
async function isEmpty(repository: RepositoryConfig, clock: Clock): Promise<boolean> {
  switch (repository.type) {
    case 'folder':
      return await isEmptyFolder(repository);
    case 's3':
      return await isEmptyBucket(repository, clock);
    default:
      return unreachable(repository);
  }
}

async function isEmptyFolder({ path, mustBeMount }: Folder): Promise<boolean> {
  await checkMount({ path, mustBeMount });
  const names = existsSync(path) ? (await readdir(path)).filter((each) => each !== LOST_AND_FOUND) : [];
  if (names.length > 0) return false;
  await checkPrivateToBe(path);
  return true;
}

async function isEmptyBucket(repository: Bucket, clock: Clock): Promise<boolean> {
  const { isRepository, probeS3Store } = await import('@lastgood/repository/s3');
  const store = await s3StoreOf(repository);
  const { clockAheadMs, ignoresIfNoneMatch, ignoresLocks } = await probeS3Store(store, () => clock.now());
  if (Math.abs(clockAheadMs) > CLOCK_TOLERANCE_MS)
    throw new Failure(
      'CLOCK_UNTRUSTED',
      `the clock of this host differs by ${Math.round(Math.abs(clockAheadMs) / 1_000)} s from that of ${store.locate('')}`,
    );
  if (ignoresIfNoneMatch)
    throw new Failure('REPOSITORY_UNSAFE', `the server of ${store.locate('')} ignores If-None-Match`, {
      remedy: 'Set `conditionalPut: false` for this repository in the agent file.',
    });
  if (ignoresLocks)
    throw new Failure('REPOSITORY_UNSAFE', `the server of ${store.locate('')} removes locked objects`, {
      remedy:
        'Use a bucket that was created with object lock, or remove `lock` of this repository from the agent file.',
    });
  return !(await isRepository(store));
}

/** What this host can do with encrypted backups. Throws when its identity fits no recipient. */
async function describeKeys({ encryption }: RepositoryConfig): Promise<string> {
  if (encryption === undefined) return '';
  const { recipients, identityFile } = encryption;
  if (identityFile === undefined) return ', encrypted; this host cannot decrypt';
  await assertDecryptable(await readIdentityFile(identityFile), recipients);
  return ', encrypted; this host can decrypt';
}
