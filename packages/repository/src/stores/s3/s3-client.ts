import { readFile } from 'node:fs/promises';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { S3Client } from '@aws-sdk/client-s3';
import { Failure } from '@lastgood/core';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { readCredentialsFile } from './credentials.ts';
import type { S3Environment, S3Location } from './s3-location.ts';

const CONNECT_MS = 10_000;
const MAX_SOCKETS = 8;

/** Opens a client of the SDK that repeats nothing by itself: `Retry` decides that, with one deadline. Throws CONFIG_INVALID for files that cannot be read. */
export async function openS3Client(location: S3Location, { idleMs }: Pick<S3Environment, 'idleMs'>): Promise<S3Client> {
  const { caFile, credentialsFile, endpoint, region, addressing } = location;
  const ca =
    caFile === undefined
      ? undefined
      : await readFile(caFile).catch((error: unknown) => {
          throw new Failure('CONFIG_INVALID', `the file of certificates ${caFile} cannot be read`, { cause: error });
        });
  // HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the environment count.
  const agent = { keepAlive: true, maxSockets: MAX_SOCKETS, proxyEnv: process.env };
  // A file without keys is reported now, not by the first request.
  if (credentialsFile !== undefined) await readCredentialsFile(credentialsFile, Date.now());
  return new S3Client({
    region,
    forcePathStyle: addressing === 'path',
    maxAttempts: 1,
    // Checksums are ours (SHA-256), and servers without those of AWS work as well.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: new NodeHttpHandler({
      connectionTimeout: CONNECT_MS,
      socketTimeout: idleMs,
      httpAgent: new HttpAgent(agent),
      httpsAgent: new HttpsAgent({ ...agent, ...(ca === undefined ? {} : { ca }) }),
    }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(credentialsFile === undefined ? {} : { credentials: () => readCredentialsFile(credentialsFile, Date.now()) }),
  });
}
