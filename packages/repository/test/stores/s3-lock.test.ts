/** Object lock and versions of a real bucket. */
import { DeleteObjectCommand, ListObjectVersionsCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { Failure } from '@lastgood/core';
import { missingS3Server, type S3Server, startS3Server, waitFor } from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createS3Repository, probeS3Store } from '../../src/s3.ts';
import { begin, dump, facts, from, ref, understood } from '../store.ts';
import { s3TestStore } from '../support/s3-test-store.ts';

const BUCKET = 'locked';
const forever = new AbortController().signal;
const reason = missingS3Server();
if (reason !== undefined) console.warn(`skipped: ${reason}`);

const codeOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => 'succeeded',
    (error: unknown) => (error instanceof Failure ? error.code : String(error)),
  );

describe.skipIf(reason !== undefined)('a bucket with object lock', () => {
  let server: S3Server;
  let credentialsFile: string;
  beforeAll(async () => {
    server = await startS3Server();
    await server.createLockedBucket(BUCKET);
    credentialsFile = await server.writeCredentials(server.admin);
  }, 120_000);
  afterAll(() => server?.[Symbol.asyncDispose](), 60_000);

  const open = (bucket = BUCKET) => s3TestStore(server, credentialsFile, { bucket, lock: 'compliance' });
  /** How many versions and delete markers there are below a prefix. */
  const versionsIn = async (Prefix: string): Promise<number> => {
    const found = await server.client.send(new ListObjectVersionsCommand({ Bucket: BUCKET, Prefix }));
    return (found.Versions?.length ?? 0) + (found.DeleteMarkers?.length ?? 0);
  };

  test('refuses to remove a locked or held object, and removes every version of others', async () => {
    await using opened = await open();
    const { store } = opened;
    const prefix = `${opened.location.prefix}/`;
    for (const text of ['first', 'second', 'third']) await store.put('a', Buffer.from(text));
    await server.client.send(new DeleteObjectCommand({ Bucket: BUCKET, Key: `${prefix}a` }));
    expect(await versionsIn(prefix)).toBe(4);
    await store.remove('a');
    expect(await versionsIn(prefix)).toBe(0);
    await store.put('b', Buffer.from('x'));
    await store.locks?.setHold('b', true);
    expect(await codeOf(store.remove('b'))).toBe('OBJECT_LOCKED');
    await store.locks?.setHold('b', false);
    await store.remove('b');
    await store.put('c', Buffer.from('x'));
    const until = (await store.clock()) + 3_000;
    await store.locks?.retain('c', until);
    expect(await store.locks?.lockedUntil('c')).toBe(until);
    await expect(store.remove('c')).rejects.toMatchObject({
      code: 'OBJECT_LOCKED',
      message: expect.stringContaining(`until ${new Date(until).toISOString()}`),
    });
    expect((await store.stat('c'))?.size).toBe(1);
    await waitFor('the lock to end', 30_000, forever, async () =>
      (await codeOf(store.remove('c'))) === 'succeeded' ? true : undefined,
    );
    expect(await versionsIn(prefix)).toBe(0);
  });

  test('a published backup survives attempts to overwrite or delete it, and rotation purges it when its lock has ended', async () => {
    await using opened = await open();
    const options = { understood, writer: 'ours', lockMs: 6_000 };
    const repository = await createS3Repository(opened.store, options);
    const writer = await begin(repository);
    const { name } = await writer.add(dump, from(Buffer.from('rows')));
    const { manifest } = await writer.publish(facts, '2026-01-01T00:00:01Z');
    const prefix = `${opened.location.prefix}/test/db-1/shop/backups/${manifest.backupId}/`;
    const target = { Bucket: BUCKET, Key: `${prefix}${name}` };
    const { Versions = [] } = await server.client.send(
      new ListObjectVersionsCommand({ Bucket: BUCKET, Prefix: target.Key }),
    );
    const [version] = Versions;
    await expect(
      server.client.send(new DeleteObjectCommand({ ...target, VersionId: version?.VersionId })),
    ).rejects.toThrow();
    // Other bytes in front of the locked version are found, and removing them brings it back.
    const { VersionId } = await server.client.send(new PutObjectCommand({ ...target, Body: 'ransom' }));
    expect((await repository.list(ref)).broken).toMatchObject([{ backupId: manifest.backupId }]);
    await server.client.send(new DeleteObjectCommand({ ...target, VersionId }));
    expect((await repository.list(ref)).backups).toHaveLength(1);
    await repository.remove(ref, manifest.backupId, 0);
    const [locked] = await repository.locked(ref, 10, 1);
    expect([locked?.backupId, await repository.purge(ref, 10, 1)]).toEqual([manifest.backupId, 0]);
    await waitFor('the lock to end', 30_000, forever, async () =>
      (await repository.purge(ref, 10, 1)) > 0 ? true : undefined,
    );
    expect(await versionsIn(prefix)).toBe(0);
  });

  test('a probe tells whether locks work', async () => {
    await using opened = await open();
    expect(await probeS3Store(opened.store, Date.now)).toMatchObject({ ignoresLocks: false });
    expect(await versionsIn(`${opened.location.prefix}/`)).toBe(0);
    await using plain = await open(server.bucket);
    expect(await codeOf(probeS3Store(plain.store, Date.now))).toBe('REPOSITORY_UNSAFE');
  });
});
