/** The object store of S3 against a real server. */
import { CreateMultipartUploadCommand, UploadPartCommand } from '@aws-sdk/client-s3';
import { systemClock } from '@lastgood/host';
import { missingS3Server, type S3Server, startS3Server } from '@lastgood/testkit';
import { describeObjectStore } from '@lastgood/testkit/conformance';
import { afterAll, beforeAll, describe } from 'vitest';
import { S3Store } from '../../src/index.ts';

const capabilities = { atomicPut: true, conditionalPut: true, objectLock: false, localReadBack: false };

const reason = missingS3Server();
if (reason !== undefined) console.warn(`skipped: ${reason}`);

describe.skipIf(reason !== undefined)('S3', () => {
  let server: S3Server;
  let credentialsFile: string;
  beforeAll(async () => {
    server = await startS3Server();
    credentialsFile = await server.writeCredentials(server.admin);
  }, 120_000);
  afterAll(() => server?.[Symbol.asyncDispose](), 60_000);

  let prefixes = 0;
  describeObjectStore(
    'S3',
    async () => {
      const prefix = `conformance/${++prefixes}`;
      const { endpoint, region, bucket } = server;
      const location = {
        bucket,
        prefix,
        region,
        endpoint,
        addressing: 'path',
        credentialsFile,
        conditionalPut: true,
        partMiB: 5,
      } as const;
      const environment = {
        clock: systemClock,
        random: Math.random,
        retryForMs: 10_000,
        idleMs: 10_000,
        onStep: () => undefined,
      };
      await using stack = new AsyncDisposableStack();
      const open = async (): Promise<S3Store> => stack.use(await S3Store.open(location, environment));
      const store = await open();
      const opened = stack.move();
      return {
        store,
        reopen: async () => opened.use(await S3Store.open(location, environment)),
        killDuringPut: async (name) => {
          const target = { Bucket: bucket, Key: `${prefix}/${name}` };
          const { UploadId } = await server.client.send(new CreateMultipartUploadCommand(target));
          await server.client.send(new UploadPartCommand({ ...target, UploadId, PartNumber: 1, Body: 'partial' }));
        },
        [Symbol.asyncDispose]: () => opened.disposeAsync(),
      };
    },
    capabilities,
  );
});
