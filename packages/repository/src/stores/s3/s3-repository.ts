import { Failure, type Repository } from '@lastgood/core';
import { MARKER } from '../../format/layout.ts';
import { readText } from '../../format/metadata.ts';
import { createRepository, openRepository, type RepositoryOptions } from '../../format/repository.ts';
import { isProbe } from './probe.ts';
import type { S3Store } from './s3-store.ts';

/** Stores whose `If-None-Match` was seen to work. */
const checked = new WeakSet<S3Store>();

/**
 * Opens a bucket, or a prefix of one, that already is a repository. Throws REPOSITORY_NOT_MOUNTED when its marker is missing, and
 * REPOSITORY_UNSAFE when a server that should create objects only once replaces them.
 */
export async function openS3Repository(store: S3Store, options: RepositoryOptions): Promise<Repository> {
  const repository = await openRepository(store, options);
  if (options.writer !== undefined) await checkConditionalPut(store);
  return repository;
}

/** Makes a repository of an empty bucket or prefix, and opens one that is there. Refuses one that holds anything else. */
export async function createS3Repository(store: S3Store, options: RepositoryOptions): Promise<Repository> {
  await store.check();
  await isRepository(store);
  await createRepository(store, options);
  return await openS3Repository(store, options);
}

/** Whether there is a repository; false for an empty bucket or prefix. Throws REPOSITORY_UNSAFE when it holds anything else. */
export async function isRepository(store: S3Store): Promise<boolean> {
  if ((await readText(store, MARKER)) !== undefined) return true;
  const foreign = await store.findForeignName();
  if (foreign !== undefined) throw notEmpty(store, foreign);
  for await (const { name } of store.list(''))
    if (!isProbe(name) && !name.startsWith(MARKER)) throw notEmpty(store, name);
  return false;
}

const notEmpty = (store: S3Store, name: string): Failure =>
  new Failure('REPOSITORY_UNSAFE', `${store.locate('')} is not empty and is not a repository: it holds "${name}"`, {
    remedy: 'Give the repository a bucket or a `prefix` of its own.',
  });

/** Stores the marker again under the condition that it does not exist, with the same bytes: a server that ignores the condition does no harm. */
async function checkConditionalPut(store: S3Store): Promise<void> {
  if (!store.capabilities.conditionalPut || checked.has(store)) return;
  const text = await readText(store, MARKER);
  if (text === undefined) throw new Failure('REPOSITORY_NOT_MOUNTED', `${store.locate('')} has no ${MARKER}`);
  const isIgnored = await store.put(MARKER, Buffer.from(text), { ifAbsent: true }).then(
    () => true,
    (error: unknown) => {
      if (error instanceof Failure && error.code === 'OBJECT_EXISTS') return false;
      throw error;
    },
  );
  if (isIgnored)
    throw new Failure('REPOSITORY_UNSAFE', `the server of ${store.locate('')} ignores If-None-Match`, {
      remedy: 'Set `conditionalPut: false` for this repository in the agent file.',
    });
  checked.add(store);
}
