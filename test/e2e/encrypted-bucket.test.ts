/** A database that is backed up to an encrypted bucket: the whole way, with the agent killed and the bucket damaged. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ListMultipartUploadsCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { createIdentity } from '@lastgood/repository';
import {
  missingS3Server,
  type PostgresServer,
  type S3Server,
  seedShop,
  startPostgres,
  startS3Server,
  temporaryFolder,
} from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commandLine, type Ran } from '../support/command-line.ts';
import { Fleet } from '../support/fleet.ts';
import { findLeftovers } from '../support/leftovers.ts';

const reason = missingS3Server();
if (reason !== undefined) console.warn(`skipped: ${reason}`);

describe.skipIf(reason !== undefined)('a database in an encrypted bucket', () => {
  const cleanup = new AsyncDisposableStack();
  let server: PostgresServer;
  let bucket: S3Server;
  let fleet: Fleet;
  let lastgood: (...args: string[]) => Promise<Ran>;
  const prefix = 'fleet/backups';

  beforeAll(async () => {
    [server, bucket] = await Promise.all([startPostgres(), startS3Server()]);
    cleanup.use(server);
    cleanup.use(bucket);
    await seedShop(server, 'shop', { rows: 2_000 });
    const folder = cleanup.use(await temporaryFolder());
    const { identity, recipient } = await createIdentity();
    const identityFile = join(folder.path, 'identity.txt');
    await writeFile(identityFile, `${identity}\n`, { mode: 0o600 });
    const repository = {
      type: 's3',
      bucket: bucket.bucket,
      prefix,
      endpoint: bucket.endpoint,
      credentialsFile: await bucket.writeCredentials(bucket.admin),
      partMiB: 5,
      encryption: { recipients: [recipient], identityFile },
    };
    fleet = cleanup.use(await Fleet.start(folder.path, server.connection, { repository }));
    lastgood = commandLine(fleet);
  }, 120_000);
  afterAll(() => cleanup.disposeAsync(), 60_000);

  const orders = (database: string): Promise<unknown> =>
    server.query(
      database,
      "select count(*) as n, md5(string_agg(md5(o::text), '' order by md5(o::text))) as d from orders o",
    );
  const keys = async (): Promise<string[]> => {
    const { Contents = [] } = await bucket.client.send(
      new ListObjectsV2Command({ Bucket: bucket.bucket, Prefix: `${prefix}/` }),
    );
    return Contents.flatMap(({ Key }) => (Key === undefined ? [] : [Key.slice(prefix.length + 1)]));
  };
  const unfinished = async (): Promise<number> =>
    (await bucket.client.send(new ListMultipartUploadsCommand({ Bucket: bucket.bucket }))).Uploads?.length ?? 0;

  test('is backed up, verified at level 6 and restored from the command line', async () => {
    const before = await orders('shop');
    const backup = await lastgood('backup', 'shop', '--database', 'shop', '--digests');
    expect([backup.status, backup.stderr]).toEqual([0, expect.any(String)]);
    const verified = await lastgood('verify', 'shop', 'latest', '--level', '6');
    expect([verified.status, verified.stdout]).toEqual([0, expect.stringContaining('reached level 6 of 6')]);
    const copy = await lastgood('restore', 'shop', '--to-new', 'shop_copy');
    expect([copy.status, copy.stdout]).toEqual([0, expect.stringContaining('into "shop_copy"')]);
    expect(await orders('shop_copy')).toEqual(before);
    expect((await keys()).filter((key) => key.includes('/data/')).every((key) => key.endsWith('.zst.age'))).toBe(true);
    expect(await findLeftovers(fleet, server)).toEqual([]);
    expect(await unfinished()).toBe(0);
  });
});
