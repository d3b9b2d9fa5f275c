/** The object store of S3, and the repository format in it, against a real server. */
import { CreateMultipartUploadCommand, UploadPartCommand } from '@aws-sdk/client-s3';
import { missingS3Server, type S3Server, startS3Server } from '@lastgood/testkit';
import { describeObjectStore, describeRepository } from '@lastgood/testkit/conformance';
import { afterAll, beforeAll, describe } from 'vitest';
import { createRepository } from '../../src/index.ts';
import { s3TestStore } from '../support/s3-test-store.ts';

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

  describeObjectStore(
    'S3',
    async () => {
      const opened = await s3TestStore(server, credentialsFile);
      const { bucket, prefix } = opened.location;
      return {
        store: opened.store,
        reopen: () => opened.reopen(),
        killDuringPut: async (name) => {
          const target = { Bucket: bucket, Key: `${prefix}/${name}` };
          const { UploadId } = await server.client.send(new CreateMultipartUploadCommand(target));
          await server.client.send(new UploadPartCommand({ ...target, UploadId, PartNumber: 1, Body: 'partial' }));
        },
        [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
      };
    },
    capabilities,
  );

  describeRepository('S3', async () => {
    const { store, ...opened } = await s3TestStore(server, credentialsFile);
    return { store, open: createRepository, [Symbol.asyncDispose]: opened[Symbol.asyncDispose] };
  });
});
