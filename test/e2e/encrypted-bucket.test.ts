/** A database that is backed up to an encrypted bucket: the whole way, with the agent killed and the bucket damaged. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import type { JobView } from '@lastgood/protocol';
import { createIdentity } from '@lastgood/repository';
import {
  missingS3Server,
  type PostgresServer,
  type S3Server,
  seedShop,
  startPostgres,
  startS3Server,
  temporaryFolder,
  waitFor,
} from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commandLine, type Ran } from '../support/command-line.ts';
import { Fleet } from '../support/fleet.ts';
import { findLeftovers } from '../support/leftovers.ts';

const reason = missingS3Server();
if (reason !== undefined) console.warn(`skipped: ${reason}`);

const forever = new AbortController().signal;
const BUCKET = 'vault';

describe.skipIf(reason !== undefined)('a database in an encrypted bucket', () => {
  const cleanup = new AsyncDisposableStack();
  let server: PostgresServer;
  let bucket: S3Server;
  let fleet: Fleet;
  let lastgood: (...args: string[]) => Promise<Ran>;
  const prefix = 'fleet/backups';
  let repository: object;

  beforeAll(async () => {
    [server, bucket] = await Promise.all([startPostgres(), startS3Server()]);
    cleanup.use(server);
    cleanup.use(bucket);
    await bucket.createLockedBucket(BUCKET);
    await seedShop(server, 'shop', { rows: 2_000 });
    await server.query('postgres', 'create database large');
    // About 12 MiB that do not compress well: three parts.
    await server.query(
      'large',
      "create table noise as select string_agg(md5(random()::text), '') as t from generate_series(1, 800000) n group by n % 100",
    );
    const folder = cleanup.use(await temporaryFolder());
    const { identity, recipient } = await createIdentity();
    const identityFile = join(folder.path, 'identity.txt');
    await writeFile(identityFile, `${identity}\n`, { mode: 0o600 });
    repository = {
      type: 's3',
      bucket: BUCKET,
      prefix,
      endpoint: bucket.endpoint,
      credentialsFile: await bucket.writeCredentials(bucket.admin),
      partMiB: 5,
      graceHours: 0,
      lock: { mode: 'compliance', days: 1 },
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
      new ListObjectsV2Command({ Bucket: BUCKET, Prefix: `${prefix}/` }),
    );
    return Contents.flatMap(({ Key }) => (Key === undefined ? [] : [Key.slice(prefix.length + 1)]));
  };
  const unfinished = async (): Promise<number> =>
    (await bucket.client.send(new ListMultipartUploadsCommand({ Bucket: BUCKET }))).Uploads?.length ?? 0;

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

  /** The backups with any object in the bucket, and their objects other than manifest, data and verdict. */
  async function stored(): Promise<{ backups: string[]; marks: string[] }> {
    const found = (await keys()).map((key) => /^test\/db-1\/shop\/backups\/([^/]+)\/(.+)$/.exec(key));
    return {
      backups: [...new Set(found.flatMap((match) => match?.[1] ?? []))].toSorted(),
      marks: found.flatMap((match) => (match?.[2] === 'incomplete' ? [match[1] ?? ''] : [])),
    };
  }
  /** Backups that rotation has removed, and that the bucket keeps. */
  const expired = async (): Promise<string[]> =>
    (await keys()).flatMap((key) => /\/tombstones\/([^/]+)\.json$/.exec(key)?.[1] ?? []);
  const listed = async (): Promise<string[]> =>
    (await fleet.client.backups.query({ limit: 1000 })).map(({ backupId }) => backupId).toSorted();

  test('rotation removes a backup from the lists, and reports that its bytes are locked', async () => {
    const [first = ''] = (await fleet.client.backups.query({ limit: 1000 })).map(({ backupId }) => backupId);
    expect((await lastgood('backup', 'shop', '--database', 'shop')).status).toBe(0);
    expect((await lastgood('verify', 'shop', 'latest', '--level', '4')).status).toBe(0);
    const rotated = await lastgood('rotate', 'shop', '--keep-last', '1', '--confirm', 'shop');
    expect([rotated.status, rotated.stdout]).toEqual([
      0,
      expect.stringMatching(/1 expired, but locked in the repository until /),
    ]);
    expect(await listed()).not.toContain(first);
    expect((await keys()).some((key) => key.includes(`/${first}/data/`))).toBe(true);
  });

  test.for([
    's3:object-stored:1',
    's3:upload-created:1',
    's3:part-stored:1',
    's3:parts-stored:1',
    's3:upload-completed:1',
    's3:object-stored:6',
  ])(
    'A16, B7: after an agent dies at the point "%s" of an upload, no part is left and every listed backup is complete',
    async (point) => {
      await fleet.killAgent();
      await fleet.startAgent({ LASTGOOD_FAULT: point });
      await fleet.untilOnline();
      const jobId = await fleet.send({
        command: 'backup',
        target: 'shop',
        method: null,
        contents: ['large'],
        options: {},
      });
      await fleet.agentEnded();
      await fleet.startAgent();
      expect(await fleet.ended(jobId)).toMatchObject({ state: 'succeeded' });
      // A backup whose manifest was there already ends the job; the sweep may follow later.
      await waitFor('the sweep', 60_000, forever, async () =>
        (await stored()).marks.length + (await unfinished()) === 0 ? true : undefined,
      );
      expect((await stored()).backups).toEqual([...(await listed()), ...(await expired())].toSorted());
    },
  );

  async function passes(backupId: string): Promise<boolean> {
    const { result } = await fleet.run({ command: 'verify', target: 'shop', backupId, level: 1 });
    return result?.command === 'verify' && result.passed;
  }

  test('every backup that is listed after the crashes verifies', async () => {
    for (const backupId of await listed()) expect([backupId, await passes(backupId)]).toEqual([backupId, true]);
  });

  test('B10, B11: damage in the bucket is found without an identity, whatever it is', async () => {
    const backup = await lastgood('--json', 'backup', 'shop', '--database', 'shop');
    const { job } = JSON.parse(backup.stdout) as { job: JobView };
    const backupId = job.result?.command === 'backup' ? job.result.backup.backupId : '';
    const data = (await keys()).filter((key) => key.includes(`/${backupId}/data/`)).map((key) => `${prefix}/${key}`);
    const target = { Bucket: BUCKET, Key: data[0] ?? '' };
    const read = async (Key: string): Promise<Buffer> => {
      const { Body } = await bucket.client.send(new GetObjectCommand({ ...target, Key }));
      return Buffer.from((await Body?.transformToByteArray()) ?? []);
    };
    const [bytes, other] = await Promise.all([read(data[0] ?? ''), read(data[1] ?? '')]);
    const flipped = Buffer.from(bytes);
    flipped.writeUInt8(flipped.readUInt8(500) ^ 1, 500);
    for (const [harm, damaged] of Object.entries({ flipped, cut: bytes.subarray(0, -1), swapped: other })) {
      await bucket.client.send(new PutObjectCommand({ ...target, Body: damaged }));
      expect([harm, await passes(backupId)]).toEqual([harm, false]);
    }
    await bucket.client.send(new DeleteObjectCommand(target));
    expect((await lastgood('verify', 'shop', backupId, '--level', '1')).status).toBe(4);
    await bucket.client.send(new PutObjectCommand({ ...target, Body: bytes }));
    expect(await passes(backupId)).toBe(true);
  });

  test('B20: without its identity, the host backs up and verifies at level 1, and refuses a restore test', async () => {
    const config = JSON.parse(await readFile(fleet.configFile, 'utf8'));
    delete config.repositories.local.encryption.identityFile;
    await writeFile(fleet.configFile, JSON.stringify(config), { mode: 0o600 });
    await fleet.stopAgent();
    await fleet.startAgent();
    await fleet.untilOnline();
    expect((await lastgood('backup', 'shop', '--database', 'shop')).status).toBe(0);
    expect((await lastgood('verify', 'shop', 'latest', '--level', '1')).status).toBe(0);
    for (const args of [
      ['verify', 'shop', 'latest', '--level', '4'],
      ['restore', 'shop', '--to-new', 'shop_never'],
    ]) {
      const refused = await lastgood(...args);
      expect([refused.status, refused.stderr]).toEqual([2, expect.stringMatching(/IDENTITY_NEEDED.*\n.*identityFile/)]);
    }
  });

  test('L4: a new host restores the database from the bucket and an identity alone, without the old control plane', async () => {
    const before = await orders('shop');
    const [lost] = await fleet.client.hosts.query({});
    await fleet[Symbol.asyncDispose]();
    const replacement = cleanup.use(await startPostgres());
    const folder = cleanup.use(await temporaryFolder());
    const other = cleanup.use(
      await Fleet.start(folder.path, replacement.connection, {
        repository,
        change: (file) => {
          file.trust = [lost?.signingKey ?? ''];
        },
      }),
    );
    await waitFor('the catalog to be read from the bucket', 60_000, forever, async () =>
      (await other.client.backups.query({ limit: 1000 })).length > 0 ? true : undefined,
    );
    const restored = await commandLine(other)('restore', 'shop', '--to-new', 'shop');
    expect([restored.status, restored.stderr]).toEqual([0, expect.any(String)]);
    const [found] = await replacement.query(
      'shop',
      "select count(*) as n, md5(string_agg(md5(o::text), '' order by md5(o::text))) as d from orders o",
    );
    expect([found]).toEqual(before);
  });
});
