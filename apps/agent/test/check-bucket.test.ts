/** `lastgood agent check` of repositories in buckets, and of their keys. */
import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { systemClock } from '@lastgood/host';
import { createIdentity, signerWith } from '@lastgood/repository';
import { missingS3Server, type S3Server, startS3Server, temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkHost } from '../src/check-host.ts';
import { agentConfigSchema } from '../src/config/agent-config.ts';
import { createRepository } from '../src/repositories/repository-access.ts';

const signer = signerWith(generateKeyPairSync('ed25519').privateKey);
const reason = missingS3Server();
if (reason !== undefined) console.warn(`skipped: ${reason}`);

describe.skipIf(reason !== undefined)('a check of a bucket', () => {
  const cleanup = new AsyncDisposableStack();
  let server: S3Server;
  let folder: string;
  let bucket: object;
  beforeAll(async () => {
    server = cleanup.use(await startS3Server());
    folder = cleanup.use(await temporaryFolder()).path;
    const credentialsFile = await server.writeCredentials(server.admin);
    bucket = { type: 's3', bucket: server.bucket, endpoint: server.endpoint, credentialsFile };
  }, 120_000);
  afterAll(() => cleanup.disposeAsync(), 60_000);

  const configOf = (repositories: Record<string, object>) =>
    agentConfigSchema.parse({
      environment: 'test',
      host: 'here',
      dataDir: folder,
      control: { url: 'http://127.0.0.1:7400' },
      repositories,
      targets: {},
    });
  /** The result of each repository, without the word before its name. */
  const check = async (
    repositories: Record<string, object>,
    now = systemClock.now,
  ): Promise<Record<string, string>> => {
    const found = await checkHost(configOf(repositories), { ...systemClock, now });
    return Object.fromEntries(
      found
        .filter(({ name }) => name.startsWith('repository '))
        .map(({ name, inOrder, text }) => [name.replace('repository ', ''), `${inOrder ? 'ok' : 'not ok'}: ${text}`]),
    );
  };

  test('reports a new bucket, an existing repository, and leaves no object behind', async () => {
    const made = { ...bucket, prefix: 'made' };
    const repository = configOf({ made }).repositories['made'];
    if (repository === undefined) throw new TypeError('no repository');
    const { id } = await createRepository(repository, { installId: 'ours', signer, trusted: null });
    const found = await check({ made, fresh: { ...bucket, prefix: 'fresh' } });
    const at = ` at ${server.endpoint}`;
    expect(found).toEqual({
      made: `ok: s3://backups/made${at} is repository ${id}`,
      fresh: `ok: s3://backups/fresh${at} becomes a repository with the first backup`,
    });
    const { Contents = [] } = await server.client.send(new ListObjectsV2Command({ Bucket: server.bucket }));
    expect(Contents.map(({ Key }) => Key)).toEqual(['made/lastgood.json']);
  });

  test('names what is denied or missing, with what to do', async () => {
    const found = await check({
      denied: { ...bucket, prefix: 'a', credentialsFile: await server.writeCredentials(server.reader) },
      wrong: {
        ...bucket,
        credentialsFile: await server.writeCredentials({ ...server.admin, secretAccessKey: 'wrong' }),
      },
      nowhere: { ...bucket, bucket: 'nowhere' },
      keyless: { ...bucket, credentialsFile: join(folder, 'none') },
    });
    expect(found).toEqual({
      denied: expect.stringMatching(/^not ok: REPOSITORY_DENIED: put of s3:.* AccessDenied .*\n.*permissions/),
      wrong: expect.stringMatching(/^not ok: REPOSITORY_DENIED: .*\n.*credentialsFile/),
      nowhere: expect.stringMatching(/^not ok: REPOSITORY_NOT_MOUNTED: .* NoSuchBucket .*\n.*create the bucket/),
      keyless: expect.stringContaining('CONFIG_INVALID: the credentials file'),
    });
  });

  test('refuses a bucket that holds only objects of others, whatever their names are', async () => {
    const Key = 'foreign/Ferienfotos 2026/Strand (1).jpg';
    await server.client.send(new PutObjectCommand({ Bucket: server.bucket, Key, Body: 'jpg' }));
    const { foreign } = await check({ foreign: { ...bucket, prefix: 'foreign' } });
    expect(foreign).toMatch(/^not ok: REPOSITORY_UNSAFE: .* is not a repository: it holds "Ferienfotos 2026/);
  });

  test('reports a clock that differs from that of the server', async () => {
    const { late } = await check({ late: { ...bucket, prefix: 'late' } }, () => systemClock.now() - 600_000);
    expect(late).toMatch(/^not ok: CLOCK_UNTRUSTED: the clock of this host differs by (599|600|601) s/);
  });

  test('B20: reports whether this host can decrypt, and an identity that fits no recipient', async () => {
    const [ours, theirs] = await Promise.all([createIdentity(), createIdentity()]);
    const identityFile = join(folder, 'identity.txt');
    await writeFile(identityFile, `${ours.identity}\n`, { mode: 0o600 });
    const encrypted = (recipient: string, file?: string): object => ({
      ...bucket,
      prefix: 'encrypted',
      encryption: { recipients: [recipient], ...(file === undefined ? {} : { identityFile: file }) },
    });
    expect(
      await check({
        both: encrypted(ours.recipient, identityFile),
        recipient: encrypted(ours.recipient),
        other: encrypted(theirs.recipient, identityFile),
      }),
    ).toEqual({
      both: expect.stringMatching(/^ok: .*, encrypted; this host can decrypt$/),
      recipient: expect.stringMatching(/^ok: .*, encrypted; this host cannot decrypt$/),
      other: expect.stringMatching(/^not ok: IDENTITY_NEEDED: /),
    });
  });
});
