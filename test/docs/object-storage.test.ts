/** The commands and examples of docs/object-storage.md. */
import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readAgentConfig } from '@lastgood/agent';
import { noSteps } from '@lastgood/core';
import { createPostgresEngine, postgresMethods } from '@lastgood/engines/postgres';
import { systemClock, uuidv7, writeFileDurably } from '@lastgood/host';
import { createIdentity, keysOf } from '@lastgood/repository';
import { createS3Repository, S3Store } from '@lastgood/repository/s3';
import {
  missingS3Server,
  type PostgresServer,
  root,
  type S3Server,
  seedShop,
  startPostgres,
  startS3Server,
  temporaryFolder,
} from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { dumpShop, linesOf, runShell } from '../support/documented-commands.ts';

const never = new AbortController().signal;
const ref = { environment: 'prod', host: 'db-1', target: 'shop' };
const page = readFileSync(join(root, 'docs/object-storage.md'), 'utf8');

const missing = [
  missingS3Server(),
  ...['age', 'zstd', 'curl'].map((name) =>
    ['/usr/bin', '/usr/local/bin'].some((folder) => existsSync(join(folder, name))) ? undefined : `${name} is missing`,
  ),
].filter((reason) => reason !== undefined);
if (missing.length > 0) console.warn(`skipped: ${missing.join('; ')}`);

/** Backs the database `shop` up into an encrypted bucket, and returns what the page needs to find the backup. */
async function backUp(source: PostgresServer, bucket: S3Server, folder: string): Promise<Record<string, string>> {
  const { identity, recipient } = await createIdentity();
  const identityFile = join(folder, 'identity.txt');
  await writeFile(identityFile, `${identity}\n`, { mode: 0o600 });
  const credentialsFile = await bucket.writeCredentials(bucket.admin);
  using store = await S3Store.open(
    {
      bucket: bucket.bucket,
      prefix: 'lastgood',
      region: bucket.region,
      endpoint: bucket.endpoint,
      addressing: 'path',
      credentialsFile,
      conditionalPut: true,
      partMiB: 8,
    },
    { clock: systemClock, random: Math.random, retryForMs: 10_000, idleMs: 10_000, onStep: () => undefined },
  );
  const keys = keysOf({ recipients: [recipient] });
  const repository = await createS3Repository(store, { understood: postgresMethods, writer: 'ours', keys });
  const backupId = uuidv7();
  const about = { jobId: uuidv7(), attempt: 1, engine: 'postgres', lastgoodVersion: '0.1.0' };
  const writer = await repository.begin({ ref, backupId, startedAt: new Date().toISOString(), ...about }, 'source');
  const context = {
    workDir: folder,
    signal: never,
    clock: systemClock,
    steps: noSteps,
    progress: () => undefined,
    log: () => undefined,
  };
  const engine = createPostgresEngine(source.connection);
  const facts = await engine.backup({ method: 'logical', contents: ['shop'], options: {} }, writer, context);
  await writer.publish(facts, new Date().toISOString());
  return {
    AWS_REGION: bucket.region,
    AWS_ACCESS_KEY_ID: bucket.admin.accessKeyId,
    AWS_SECRET_ACCESS_KEY: bucket.admin.secretAccessKey,
    ENDPOINT: bucket.endpoint,
    BUCKET: bucket.bucket,
    PREFIX: 'lastgood',
    ENVIRONMENT: 'prod',
    HOST: 'db-1',
    TARGET: 'shop',
    BACKUP: backupId,
    IDENTITY: identityFile,
  };
}

test.skipIf(missing.length > 0)(
  'L5: the stock commands of the page bring a database back from an encrypted bucket, without Lastgood (needs SeaweedFS, age, zstd, curl)',
  async () => {
    // The globals carry the password of the superuser over.
    await using source = await startPostgres({ superuserPassword: 'the same' });
    await using fresh = await startPostgres({ superuserPassword: 'the same' });
    await using bucket = await startS3Server();
    await using folder = await temporaryFolder();
    await seedShop(source, 'shop', { rows: 1_000 });
    const place = await backUp(source, bucket, folder.path);
    const listed = await runShell(fresh, `${linesOf(page, 'object')}\n${linesOf(page, 'list')}`, place);
    expect(listed).toContain('"contents":"shop"\n"name":"data/0001.dump.zst.age"\n"role":"dump"');
    expect(listed).toContain('"contents":null\n"name":"data/0004.sql.zst.age"\n"role":"globals"');
    await runShell(fresh, `${linesOf(page, 'object')}\n${linesOf(page, 'restore')}`, place);
    expect(await dumpShop(fresh)).toEqual(await dumpShop(source));
  },
);

test('the example of the page is a valid repository of an agent file, and the policy is JSON', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'agent.yaml');
  const example = /```yaml\n(repositories:[\s\S]*?)```/.exec(page)?.[1] ?? '';
  const rest = 'control: { url: "http://127.0.0.1:7420" }\nenvironment: prod\nhost: db-1\ntargets: {}\n';
  await writeFileDurably(file, `${rest}${example}`);
  const { repositories } = await readAgentConfig(file);
  expect(repositories['offsite']).toMatchObject({ type: 's3', bucket: 'acme-backups', prefix: 'lastgood' });
  const policy: unknown = JSON.parse(/```json\n([\s\S]*?)```/.exec(page)?.[1] ?? '');
  expect(policy).toMatchObject({ Version: '2012-10-17' });
});
